"""Row 5: requests to AWS and calls of the portal per document, counted, per flow, against the least that would do.

The least is written down below with its reasons: what the portal's protocol asks for, and what it takes that a document
is committed once, whoever dies when. What only people need (words by which a document is found) is not in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.flows import FLOWS, Flow, Walked, walk
from benchmarks.measured import Line, Measured, Options, at_most, compared

NAME = "requests-per-document"
DOCUMENTS, QUICK_DOCUMENTS = 100, 10
GOAL = 1.5
DUBA_CALLS = 1.03
PER_TEN, PER_HUNDRED = 0.1, 0.01  # what goes ten, or a hundred, to a request


@dataclass(frozen=True)
class Need:
    """So many requests per document, and why there cannot be fewer."""

    requests: float
    reason: str


COMMIT_IN = (
    Need(1, "the ledger's row, opened on the condition that there is none"),
    Need(PER_TEN, "the request to fetch it, ten to a call"),
    Need(1, "the lease, so that two workers do not store it both"),
    Need(1, "document.json, the commit"),
    Need(PER_TEN, "the event Document Received, ten to a call"),
    Need(1, "the row STORED"),
    Need(1, "document.json is looked at before the portal is told"),
    Need(PER_TEN, "the event Document Acknowledged"),
    Need(1, "the row ACKNOWLEDGED"),
)
ONE_FILE = Need(1, "the file")
TWO_FILES = Need(2, "what the portal said, and the file in it")
COMMIT_OUT = (
    Need(1, "the drop itself, read with its size and its metadata"),
    Need(1, "which version of its key is the newest, as the receipt speaks of that one"),
    Need(1, "the ledger's row, opened with the lease"),
    Need(1, "the row that says what the portal answered"),
    Need(2, "the receipt, when it is under way and at its end"),
    Need(PER_TEN, "the event Delivery Updated, ten to a call"),
    Need(1, "the row, when receipt and event are out, so that a crash before repeats them"),
)
NOTED_BEFORE = Need(1, "the row before the portal is told what cannot be taken back")
AWAITED = Need(1, "the name that the sent form will be listed under, before it can be; a link may be made twice")
FOLLOWED = (
    Need(PER_HUNDRED, "what is due to be looked at, from the index"),
    Need(1, "the row with the portal's last state"),
    Need(1, "the receipt with it"),
    Need(PER_TEN, "its event"),
)
AWS: Mapping[str, Sequence[Need]] = {
    FLOWS[0].name: (*COMMIT_IN, ONE_FILE),
    FLOWS[1].name: (*COMMIT_IN, TWO_FILES),
    FLOWS[2].name: (*COMMIT_IN, TWO_FILES),
    FLOWS[3].name: (*COMMIT_IN, ONE_FILE),
    FLOWS[4].name: (*COMMIT_OUT, AWAITED),
    FLOWS[5].name: (*COMMIT_OUT, NOTED_BEFORE),
    FLOWS[6].name: (*COMMIT_OUT, NOTED_BEFORE),
    FLOWS[7].name: (*COMMIT_OUT, NOTED_BEFORE, *FOLLOWED),
}
PORTAL: Mapping[str, Sequence[Need]] = {
    FLOWS[0].name: (Need(1, "download"), Need(PER_HUNDRED, "acknowledge"), Need(PER_HUNDRED, "list")),
    FLOWS[1].name: (
        Need(1, "details"),
        Need(
            1, "details again before the status is changed, or a person's would be overwritten: there is no condition"
        ),
        Need(1, "update"),
        Need(PER_HUNDRED, "search"),
    ),
    FLOWS[2].name: (
        Need(1, "the instance"),
        Need(1, "its file"),
        Need(1, "complete"),
        Need(PER_HUNDRED, "the list"),
    ),
    FLOWS[3].name: (Need(1, "the link"), Need(1, "the file"), Need(1, "acknowledge"), Need(PER_HUNDRED, "the list")),
    FLOWS[4].name: (Need(1, "whether the job was used before"), Need(1, "memento")),
    FLOWS[5].name: (Need(1, "what the field holds"), Need(1, "upload"), Need(1, "update")),
    FLOWS[6].name: (Need(1, "what the instance holds: an element cannot be sent twice"), Need(1, "upload")),
    FLOWS[7].name: (Need(1, "the address"), Need(1, "the file"), Need(1, "its state")),
}


def run(options: Options) -> Measured:
    """Count all flows."""
    documents = options.scaled(DOCUMENTS, QUICK_DOCUMENTS)
    walked = {flow.name: walk(flow, documents) for flow in FLOWS}
    lines = [line for flow in FLOWS for line in _lines(flow, walked[flow.name])]
    reasons = [_reasons(flow) for flow in FLOWS]
    return Measured(
        NAME,
        f"requests per document, {documents} at once",
        "the least that the portal's protocol and a commit need",
        tuple(lines),
        (
            "Counted by the server, once: the counts do not vary. What Lambda asks of the queues for us, and the ticks"
            " of schedules that find nothing, are in the bill (benchmarks/cost.py) and not here.",
            *reasons,
        ),
    )


def _lines(flow: Flow, walked: Walked) -> list[Line]:
    least_calls = least(PORTAL[flow.name])
    limit = DUBA_CALLS / least_calls if flow is FLOWS[0] else GOAL
    return [
        compared(f"{flow.name}: AWS", walked.aws_per_document, least(AWS[flow.name]), "requests", at_most(GOAL)),
        compared(f"{flow.name}: portal", walked.calls_per_document, least_calls, "calls", at_most(round(limit, 4))),
    ]


def least(needs: Sequence[Need]) -> float:
    """Return how many requests a document needs at least."""
    return sum(need.requests for need in needs)


def _reasons(flow: Flow) -> str:
    aws, calls = (_told(needs[flow.name]) for needs in (AWS, PORTAL))
    return f"The least of “{flow.name}”: {aws}. At the portal: {calls}."


def _told(needs: Sequence[Need]) -> str:
    return "; ".join(f"{need.requests:g} {need.reason}" for need in needs)
