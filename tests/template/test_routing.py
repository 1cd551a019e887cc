"""Each drop goes to exactly one deliver queue."""

from __future__ import annotations

import pytest

from tests.template.loading import UNROUTED, logical, stack
from tests.template.patterns import matches

STACK = stack()
DROPS = {n: rule for n, rule in STACK.of_type("AWS::Events::Rule").items() if "EventPattern" in rule}


def dropped(key: str, bucket: str = "${OutboxBucket}", kind: str = "Object Created") -> dict[str, object]:
    return {"source": "aws.s3", "detail-type": kind, "detail": {"bucket": {"name": bucket}, "object": {"key": key}}}


def takers(event: dict[str, object]) -> list[str]:
    return [r["Targets"][0]["Arn"] for r in DROPS.values() if matches(r["EventPattern"], event)]


@pytest.mark.parametrize(
    ("key", "queue"),
    [
        ("docxworld/klinikum/KAT/brief.pdf", "DeliverDocxworldQueue"),
        ("docxworld/", "DeliverDocxworldQueue"),
        ("docxworld/klinikum/KAT/Grüße & a+b (1).pdf", "DeliverDocxworldQueue"),
        ("digitale-gemeinde/stadt/7/8/9/antwort.pdf", "DeliverDigitaleGemeindeQueue"),
        ("altinn/etat/org/app/50001/guid/vedlegg/brev.pdf", "DeliverAltinnQueue"),
        ("duba/klinikum/BetreuungAnregung/fall.json", "DeliverDubaQueue"),
        ("docxworld", "DeliverUnroutedQueue"),
        ("docxworldx/klinikum/brief.pdf", "DeliverUnroutedQueue"),
        ("Docxworld/klinikum/brief.pdf", "DeliverUnroutedQueue"),
        ("/docxworld/klinikum/brief.pdf", "DeliverUnroutedQueue"),
        ("brief.pdf", "DeliverUnroutedQueue"),
        ("unknown/klinikum/docxworld/brief.pdf", "DeliverUnroutedQueue"),
    ],
)
def test_a_drop_goes_to_the_one_queue_of_its_prefix(key: str, queue: str) -> None:
    assert takers(dropped(key)) == [f"${{{queue}.Arn}}"]


def test_objects_of_another_bucket_and_deletions_are_no_drops() -> None:
    assert takers(dropped("docxworld/klinikum/KAT/brief.pdf", bucket="another")) == []
    assert takers(dropped("docxworld/klinikum/KAT/brief.pdf", kind="Object Deleted")) == []


def test_every_portal_that_delivers_has_its_prefix_and_is_left_out_of_the_unrouted() -> None:
    delivering = {f.portal for f in STACK.functions() if f.verb == "deliver"} - {UNROUTED}
    for portal in delivering:
        assert takers(dropped(f"{portal}/x")) == [f"${{Deliver{logical(portal)}Queue.Arn}}"]
    (key,) = DROPS["UnroutedDropsRule"]["EventPattern"]["detail"]["object"]["key"]
    assert key == {"anything-but": {"prefix": [f"{portal}/" for portal in sorted(delivering)]}}
