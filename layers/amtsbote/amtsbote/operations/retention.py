"""What the rules of retention would delete now. It looks, and deletes nothing: that is for the function `retain`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from amtsbote.operations.office import Office
from amtsbote.operations.overview import COUNTED_AT_MOST
from amtsbote.retention import Rule, doomed, read_rules


@dataclass(frozen=True)
class Doomed:
    """What of one connection a rule would delete now: so many (COUNTED_AT_MOST: that or more), the oldest of `oldest`.

    Portal and connection are empty for drops whose key fits no rule. `days` is how long the rule keeps what has reached
    this state.
    """

    portal: str
    connection: str
    state: str
    days: int
    count: int
    oldest: datetime


@dataclass(frozen=True)
class Outlook:
    """The rules, portal or "*" → state → days, None for ever; for how many days rows are kept; what would go now."""

    rules: Mapping[str, Mapping[str, int | None]]
    audit_days: int
    doomed: tuple[Doomed, ...]


def outlook(office: Office) -> Outlook:
    """Return what the rules of the stack would delete now, connection by connection."""
    rules = read_rules(office.stack.parameters.get("RetentionRules", "{}"))
    said = {
        portal: {state: None if span is None else span.days for state, span in states.items()}
        for portal, states in rules.kept_for.items()
    }
    found = (
        each
        for portal, connection in office.ledger.accounts()
        for rule in rules.of(portal)
        for each in _doomed(office, portal, connection, rule)
    )
    return Outlook(said, int(office.stack.parameters.get("AuditDays", "0")), tuple(found))


def _doomed(office: Office, portal: str, connection: str, rule: Rule) -> Iterator[Doomed]:
    changed = [row.history[-1].at for row in islice(doomed(office.ledger, portal, connection, rule), COUNTED_AT_MOST)]
    if changed:
        yield Doomed(portal, connection, rule.state, rule.kept_for.days, len(changed), min(changed))
