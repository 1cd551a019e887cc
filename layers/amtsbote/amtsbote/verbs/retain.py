"""retain: erase content that has been kept for long enough, and keep its rows. It talks to no portal.

One document goes in this order: its row says ERASING, from which nothing leads back; every version of its objects; the
words that it is found by; its row says ERASED. Whoever dies in between leaves a row that is due, and the next turn
begins with those, whatever the rules say by then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from botocore.exceptions import BotoCoreError, ClientError

from amtsbote.batches import in_batches, side_by_side
from amtsbote.deadline import Deadline
from amtsbote.deliveries import DropRow
from amtsbote.errors import OutOfTime, Retry
from amtsbote.keys import item_prefix
from amtsbote.lifecycle import Erased, ErasureBegun, ImpossibleTransition, ItemRow
from amtsbote.messages import Tick
from amtsbote.observability import count, counted_for, log
from amtsbote.queues import describe
from amtsbote.retention import Rules, doomed, in_turn, keep_until
from amtsbote.services import Services
from amtsbote.storage import code_of
from amtsbote.verbs.deliver import existing_connection

ERASERS = 8  # documents side by side; each is some ten calls
Row = ItemRow | DropRow


class Outcome(StrEnum):
    """What became of one document."""

    ERASED = "ERASED"
    CHANGED = "CHANGED"  # meanwhile, so that it is not to be erased
    FAILED = "FAILED"  # for now; the next turn tries again


@dataclass
class Turn:
    """How many documents were erased in this turn, and how many could not be."""

    erased: int = 0
    failed: int = 0


def retain(tick: Tick, services: Services, deadline: Deadline) -> int:
    """Erase what the rules say, as much as there is time for, and return how many documents it was.

    Every failure is counted as ErasureFailed; one document that cannot be erased does not keep the others.
    """
    turn = Turn()
    try:
        _erase_all(turn, services, deadline)
    except OutOfTime:
        log.info("the rest is left to the next turn")
    except Exception:
        turn.failed += 1
        raise
    finally:
        count("ErasureFailed", turn.failed)
    log.info("retained", extra={"task": tick.task, "erased": turn.erased, "failed": turn.failed})
    return turn.erased


def _erase_all(turn: Turn, services: Services, deadline: Deadline) -> None:
    for portal, connection in in_turn(services.ledger.accounts(), services.clock()):
        with counted_for(portal):
            for some in in_batches(_to_erase(portal, connection, services), ERASERS):
                deadline.check()
                outcomes = side_by_side(lambda each: _erase(*each, services), some, ERASERS)
                turn.erased += outcomes.count(Outcome.ERASED)
                turn.failed += outcomes.count(Outcome.FAILED)


def _to_erase(portal: str, connection: str, services: Services) -> Iterator[tuple[Row, ErasureBegun | None]]:
    """Yield what was begun before, then what the rules say, with the event that begins it."""
    for row in services.ledger.erasing(portal, connection):
        yield row, None
    rules: Rules = services.settings.retention_rules or Rules()
    for rule in rules.of(portal):
        for row in doomed(services.ledger, portal, connection, rule):
            yield row, rule.erasure(services.clock())


def _erase(row: Row, begins: ErasureBegun | None, services: Services) -> Outcome:
    names = {"connection": row.connection}
    try:
        _erase_one(row, begins, services)
    except ImpossibleTransition:
        log.info("changed meanwhile", extra=names)
        return Outcome.CHANGED
    except Retry as retry:
        log.warning("not erased yet", extra=names | describe(retry))
        return Outcome.FAILED
    except (ClientError, BotoCoreError) as error:
        code = code_of(error) if isinstance(error, ClientError) else type(error).__name__
        log.warning("not erased yet", extra=names | {"code": code})
        return Outcome.FAILED
    count("Erased", connection=existing_connection(row) if isinstance(row, DropRow) else row.connection)
    return Outcome.ERASED


def _erase_one(row: Row, begins: ErasureBegun | None, services: Services) -> None:
    """Let the document go; each step may be repeated, and the row goes last."""
    erased = Erased(keep_until(services.clock(), services.settings.audit_days))
    begun = row if begins is None else _let(row, begins, services)
    if isinstance(begun, DropRow):
        _erase_delivery(begun, erased, services)
    else:
        services.inbox.erase(item_prefix(begun.portal, begun.connection, begun.id))
    services.ledger.forget_words(begun)
    _let(begun, erased, services)


def _erase_delivery(row: DropRow, erased: Erased, services: Services) -> None:
    services.outbox.erase(row.bucket, row.key, row.version_id)
    services.receipts.forget(row)
    if erased.keep_until is not None:
        services.ledger.expire_notes(row, erased.keep_until)


def _let(row: Row, event: ErasureBegun | Erased, services: Services) -> Row:
    if isinstance(row, DropRow):
        return services.ledger.advance_drop(row, event)
    return services.ledger.advance(row, event)
