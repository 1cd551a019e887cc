"""route: copy what a rule says from the inbox into the outbox, once. It talks to no portal and reads no secret."""

from collections.abc import Mapping
from typing import Any

from amtsbote.chain import (
    Begun,
    CopyState,
    Provenance,
    Refused,
    RoutedCopy,
    mark_of,
    planned,
    upload_lives,
)
from amtsbote.chain import Routed as RoutedTo
from amtsbote.copying import Place, Unmade
from amtsbote.deadline import Deadline
from amtsbote.deliveries import DropRow
from amtsbote.errors import OutOfTime, Reject, Retry
from amtsbote.keys import item_prefix
from amtsbote.messages import RouteRequest
from amtsbote.observability import count, counted_for, log
from amtsbote.portals import portal_named
from amtsbote.queues import describe
from amtsbote.routing import Arrived, Context, RoutingRule, RoutingRules, check_hops, next_provenance
from amtsbote.services import Services


def route(request: RouteRequest, services: Services, deadline: Deadline) -> int:
    """Copy each file of the document that a rule asks for, unless it was copied before; return how many went now.

    Retry when the request has to come again. What a rule cannot do (a placeholder without a value, a key that is taken)
    is written down and comes again too: at last as a dead letter, which is sent back when the rules are mended.
    """
    of = request.detail
    with counted_for(of.portal):
        try:
            return _Routing(of.portal, of.connection, of.id, services, deadline).run()
        except OutOfTime:
            services.own_queue.send_all([request.body()])
            return 0


class _Routing:
    """One document and the rules that it is for."""

    def __init__(self, portal: str, connection: str, id_: str, services: Services, deadline: Deadline) -> None:
        self._item = item_prefix(portal, connection, id_)
        self._services = services
        self._deadline = deadline

    def run(self) -> int:
        said = self._services.inbox.document(self._item)
        if said is None:
            raise Retry("DOCUMENT_NOT_THERE", "there is no document.json of what is to be routed")
        document = _arrived(said)
        said_rules: RoutingRules = self._services.settings.routing_rules or RoutingRules()
        rules = said_rules.for_document(document)
        if not rules:
            return 0
        answered = self._answered(document)
        outcomes = [
            self._route(rule, document, answered, file)
            for rule in rules
            if answered is not None or not rule.needs_origin  # it answers nothing of ours: no chain to go back on
            for file in _files(rule, said)
        ]
        self._raise_first(outcomes)
        return outcomes.count(True)

    def _answered(self, document: Arrived) -> DropRow | None:
        """Return the routed drop that the document answers, as its record says; None where it answers none."""
        answers = portal_named(document.portal).answers
        name = answers(document.metadata) if answers else None
        row = self._services.ledger.answered_by(document.portal, document.connection, name) if name else None
        return row if row is not None and row.provenance is not None else None

    def _route(
        self, rule: RoutingRule, document: Arrived, answered: DropRow | None, file: Mapping[str, Any]
    ) -> bool | Reject:
        """Return whether the file was copied now, or why it cannot be."""
        behind, bucket = answered.provenance if answered else None, self._services.settings.outbox_bucket
        provenance = next_provenance(self._item, rule.name, behind)
        copy = self._services.ledger.open_copy(planned(provenance, file["name"], (bucket, ""), self._services.clock()))
        if copy.state is CopyState.ROUTED:
            return False
        try:
            check_hops(provenance)
            target = rule.target(Context(document, file["name"], self._origin(rule, behind)))
            self._copy(copy, target.key, target.metadata, file)
        except Reject as refusal:
            return self._refused(copy, refusal)
        count("Routed", connection=document.connection)
        log.info("routed", extra={"connection": document.connection, "id": document.id, "rule": rule.name})
        return True

    def _origin(self, rule: RoutingRule, behind: Provenance | None) -> Arrived | None:
        if behind is None or not rule.needs_origin:
            return None
        said = self._services.inbox.document(behind.origin)
        if said is None:
            raise Reject("ORIGIN_GONE", f"routing rule {rule.name}: the origin's document.json is no longer there")
        return _arrived(said)

    def _copy(self, copy: RoutedCopy, key: str, metadata: Mapping[str, str], file: Mapping[str, Any]) -> None:
        """Bring the file to its key, going on with the upload that the ledger knows."""
        if not upload_lives(copy, key, self._services.clock()):
            copy = self._begun(copy, key, metadata, file)
        source, target = Place(self._services.settings.inbox_bucket, file["key"]), Place(copy.bucket, copy.key)
        upload_id = str(copy.upload_id)
        made = self._services.copier.finish(source, file["size"], target, upload_id, self._deadline)
        version_id = self._found(copy, target, made) if isinstance(made, Unmade) else made
        self._services.ledger.advance_copy(copy, RoutedTo(version_id, upload_id))

    def _begun(self, copy: RoutedCopy, key: str, metadata: Mapping[str, str], file: Mapping[str, Any]) -> RoutedCopy:
        """Begin an upload and write it down before it can have an effect; the loser of two workers ends its own."""
        copier, wanted = self._services.copier, Place(copy.bucket, key)
        own = copier.begin(wanted, file["contentType"], {**metadata, **mark_of(copy)})
        begun = self._services.ledger.advance_copy(copy, Begun(own, key))
        if begun.upload_id != own:
            copier.abort(wanted, own)
        elif copy.upload_id is not None:  # to the key of an older rule, or too old to go on with
            copier.abort(Place(copy.bucket, copy.key), copy.upload_id)
        return begun

    def _found(self, copy: RoutedCopy, target: Place, why: Unmade) -> str | None:
        """Return the version that the upload became before; None where it has been deleted since."""
        found = self._services.copier.version_with(target, mark_of(copy))
        if found is None and why is Unmade.KEY_TAKEN:
            mend = "another object lies under the key; let `to` hold what tells them apart, such as {id} and {name}"
            raise Reject("KEY_TAKEN", f"routing rule {copy.rule}: {mend}")
        return found

    def _refused(self, copy: RoutedCopy, refusal: Reject) -> Reject:
        self._services.ledger.advance_copy(copy, Refused(refusal.code, refusal.message))
        log.error("routing failed", extra={"id": self._item, "rule": copy.rule, **describe(refusal)})
        count("RouteFailed")
        return refusal

    def _raise_first(self, outcomes: list[bool | Reject]) -> None:
        """Let the request come again where something could not be done; all the rest is done by then."""
        refusals = [each for each in outcomes if isinstance(each, Reject)]
        if refusals:
            raise Retry(refusals[0].code, refusals[0].message)


def _arrived(said: Mapping[str, Any]) -> Arrived:
    return Arrived(said["portal"], said["connection"], said["id"], said["metadata"])


def _files(rule: RoutingRule, said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    chosen = rule.chosen([file["name"] for file in said["files"]])
    return [file for file in said["files"] if file["name"] in chosen]
