"""cfn-lint finds nothing, in the template as it is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.template.loading import ROOT, TEMPLATE


def test_cfn_lint_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--include-checks", "W", "--", str(TEMPLATE)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
