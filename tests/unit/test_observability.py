"""Metrics carry just the dimensions that the template's alarms watch."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.template.loading import stack

ROOT = Path(__file__).parents[2]
PROGRAM = """
from types import SimpleNamespace
from amtsbote.observability import count, observed

@observed
def handler(event, context):
    count("Quarantined")

context = SimpleNamespace(function_name="f", memory_limit_in_mb=1, invoked_function_arn="a", aws_request_id="r")
for _ in range(2):
    handler({}, context)
"""


def test_a_metric_has_the_dimensions_of_its_alarm_at_every_invocation() -> None:
    environment = {**os.environ, "AMTSBOTE_PORTAL": "duba", "PYTHONPATH": str(ROOT / "layers" / "amtsbote")}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    blobs = [json.loads(line) for line in answer.stdout.splitlines()]
    counted = [blob for blob in blobs if "Quarantined" in blob]
    (alarm,) = [
        each for name, each in stack().of_type("AWS::CloudWatch::Alarm").items() if name == "DubaQuarantineAlarm"
    ]
    wanted = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
    assert len(counted) == 2
    for blob in counted:
        (directive,) = blob["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == alarm["Namespace"]
        assert [{name: blob[name] for name in names} for names in directive["Dimensions"]] == [wanted]
