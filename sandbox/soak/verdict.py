"""Says whether a soak lost, doubled or altered anything: the demo's verdict, and what violence makes inevitable.

Three things are as they should be here that the demo would call wrong. A drop whose effect cannot be looked up may be
FAILED with the reason that its outcome is unknown. A repeated acknowledgement has no effect at a portal. And a magic
link is made anew when the answer with the first was lost; the first is then nobody's, and the receipt has the second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox.demo.observation import MagicLink, Observation
from sandbox.demo.scenario import End, ExpectedDocument, ExpectedDrop, Scenario
from sandbox.demo.verdict import DOCUMENT, RECEIPTS, Finding, Verdict, judge

UNKNOWN = "OUTCOME_UNKNOWN"
SETTLED = ("DELIVERED", "FAILED")


@dataclass(frozen=True)
class DeadLetter:
    """A message that no function could finish. A scheduled task is no loss: the schedule comes again."""

    body: str
    is_task: bool


@dataclass(frozen=True)
class SoakVerdict:
    """The demo's verdict of what is left to judge, and counts over everything."""

    verdict: Verdict
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    too_early: tuple[str, ...]
    unknown: tuple[str, ...]
    """Drops that FAILED because their outcome is unknown."""
    told_again: int
    links_again: int

    @property
    def ended(self) -> bool:
        """Whether every document and drop is as it should be."""
        return self.verdict.ended

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return self.verdict.ok and not (self.lost or self.doubled or self.too_early)


def judge_soak(
    scenario: Scenario,
    seen: Observation,
    too_early: Sequence[tuple[str, str]] = (),
    dead_letters: Sequence[DeadLetter] = (),
) -> SoakVerdict:
    """Judge everything that came during a soak. `dead_letters` are those that were read; their count is in `seen`."""
    told = list(dict.fromkeys(seen.told))
    links = list(_links_in_receipts(scenario.drops, seen))
    tasks = sum(each.is_task for each in dead_letters)
    judged = replace(seen, told=told, links=links, dead_letters=seen.dead_letters - tasks)
    unknown = {each.key: finding for each in scenario.drops if (finding := judge_unknown(each, judged)) is not None}
    settled = tuple(_as_it_is(each, judged) if each.key in unknown else each for each in scenario.drops)
    verdict = judge(replace(scenario, drops=settled), judged)
    drops = (unknown.get(each.key, finding) for each, finding in zip(scenario.drops, verdict.drops, strict=True))
    return SoakVerdict(
        verdict=replace(verdict, drops=tuple(drops)),
        lost=tuple(lost(scenario, seen)),
        doubled=tuple(doubled(scenario, seen)),
        too_early=tuple(f"{portal}/{id_}" for portal, id_ in too_early),
        unknown=tuple(unknown),
        told_again=len(seen.told) - len(told),
        links_again=len(seen.links) - len(links),
    )


# --- what is lost, what is doubled -----------------------------------------------------------------------------------


def lost(scenario: Scenario, seen: Observation) -> Iterator[str]:
    """The documents that are not in the inbox and the drops whose receipt names no end."""
    for document in scenario.documents:
        if f"{document.prefix}/{DOCUMENT}" not in seen.inbox:
            yield document.prefix
    for drop in scenario.drops:
        if _receipt(drop, seen).get("status") not in SETTLED:
            yield drop.key


def doubled(scenario: Scenario, seen: Observation) -> Iterator[str]:
    """What was written twice in the inbox, arrived twice at a portal, was set twice, or was paid twice."""
    for document in scenario.documents:
        yield from (key for key, each in seen.under(document.prefix).items() if each.versions > 1)
    arrived, told = Counter(each.content for each in seen.uploads), Counter(seen.statuses)
    for drop in scenario.drops:
        if arrived[drop.arriving.content] > 1:
            yield drop.key
    yield from (f"{each.portal}/{each.id}: {each.status}" for each, times in told.items() if times > 1)
    yield from (f"refund of {id_}" for id_, times in seen.refunds.items() if times > 1)


# --- drops that ended as nobody can know -----------------------------------------------------------------------------


def judge_unknown(expected: ExpectedDrop, seen: Observation) -> Finding | None:
    """Judge a drop that FAILED because its outcome is unknown: the portal may have it, but only once. Else None."""
    error = _receipt(expected, seen).get("error")
    if expected.end is not End.DELIVERED or not isinstance(error, dict) or error.get("code") != UNKNOWN:
        return None
    return Finding(End.FAILED, tuple(_wrong_with_unknown(expected, error, seen)))


def _wrong_with_unknown(expected: ExpectedDrop, error: dict[str, Any], seen: Observation) -> Iterator[str]:
    if not error.get("message") or error.get("retryable") is not False:
        yield "the receipt does not say what to do about the unknown outcome"
    times = sum(each.content == expected.arriving.content for each in seen.uploads)
    if times > 1:
        yield f"the portal has it {times} times although its outcome is unknown"
    set_ = sum((each.id, each.status) == (expected.portal_id, expected.sets) for each in seen.statuses)
    if set_ > 1:
        yield f"the portal was told the status {set_} times although its outcome is unknown"
    told = {each.status for each in seen.events if each.version_id == expected.version_id and each.status in SETTLED}
    if told != {"FAILED"}:
        yield "no event Delivery Updated says FAILED, or one says something else"


def _as_it_is(expected: ExpectedDrop, seen: Observation) -> ExpectedDrop:
    """The drop as the portal has it, so that what is there counts as expected."""
    has_file = any(each.content == expected.arriving.content for each in seen.uploads)
    is_set = any((each.id, each.status) == (expected.portal_id, expected.sets) for each in seen.statuses)
    return replace(expected, at_portal=has_file, sets=expected.sets if is_set else None)


# --- links -----------------------------------------------------------------------------------------------------------


def _links_in_receipts(drops: Collection[ExpectedDrop], seen: Observation) -> Iterator[MagicLink]:
    """The links that receipts tell; of a job of which no receipt tells, all of them, for the demo's judge to see."""
    results = (_receipt(each, seen).get("result") or {} for each in drops if each.link_of)
    told = {each.get("magicLink") for each in results}
    jobs = {each.job_id for each in seen.links if each.url in told}
    return (each for each in seen.links if each.url in told or each.job_id not in jobs)


def _receipt(drop: ExpectedDrop, seen: Observation) -> dict[str, Any]:
    found = seen.inbox.get(f"{RECEIPTS}/{drop.key}.json")
    return dict(found.text or {}) if found else {}


def open_since(documents: Sequence[ExpectedDocument], drops: Sequence[ExpectedDrop], verdict: Verdict) -> float | None:
    """When the oldest came that is not yet as it should be; None when everything is."""
    begun = [each.from_seconds for each in documents] + [each.from_seconds for each in drops]
    findings = (*verdict.documents, *verdict.drops)
    return min((at for at, finding in zip(begun, findings, strict=True) if not finding.ok), default=None)
