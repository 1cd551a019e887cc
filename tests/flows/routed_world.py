"""Several portals in one stack, with rules: every portal's functions, and route between them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from amtsbote.deadline import Deadline
from amtsbote.messages import RouteRequest
from amtsbote.queues import each_record
from amtsbote.routing import read_routing_rules
from amtsbote.services import Services
from amtsbote.verbs.route import route
from tests.flows.mortality import MortalWorld
from tests.flows.queue_service import QueueService
from tests.flows.world import BATCH, OUTBOX, Clock, World

RECEIVES = 12  # as in the template: then it is a dead letter
PAUSE_SECONDS = 3700  # longer than any backoff
DOCUMENT_RECEIVED = "Document Received"
Version = tuple[str, str]


class BesideWorld(MortalWorld):
    """Another portal's functions in the same stack: the same buckets, ledger and bus, with queues of their own."""

    def __init__(self, portal: str, host: MortalWorld) -> None:
        self._host, self.lifeline = host, host.lifeline
        World.__init__(self, portal, clock=host.clock)  # the host's clients are overheard already

    def client(self, name: str) -> Any:
        """Return the host's client, but for the queues."""
        return self.clients[name] if name == "sqs" else self._host.client(name)

    def _create_resources(self) -> None:
        self.clients["events"] = self._host.clients["events"]


class RoutedWorld:
    """A stack with several portals and routing rules."""

    def __init__(self, clock: Clock, portals: Sequence[str], rules: Sequence[Mapping[str, Any]]) -> None:
        self.rules = json.dumps(rules)
        self.hub = MortalWorld(portals[0], clock=clock)
        self.worlds = {portals[0]: self.hub} | {name: BesideWorld(name, self.hub) for name in portals[1:]}
        self.sqs = QueueService(clock, max_receives=RECEIVES)
        self.deadline_seconds = 60.0
        self._announced: set[Version] = set()
        self._told = 0

    def __getitem__(self, portal: str) -> MortalWorld:
        return self.worlds[portal]

    @property
    def services(self) -> Services:
        """Return services as a fresh process of route has them."""
        made = self.hub.new_services()
        given = {"portal": "all", "verb": "route", "routing_rules": read_routing_rules(self.rules)}
        settings = made.settings.model_copy(update=given)
        return Services(settings, lambda name: self.sqs if name == "sqs" else self.hub.client(name), self.hub.clock)

    # --- what EventBridge brings ---

    def bring_events(self) -> None:
        """Let what was published, and what was written to the outbox, arrive where the template's rules send it."""
        published = self.hub.events()
        for kind, detail in published[self._told :]:
            if kind == DOCUMENT_RECEIVED:
                self.event(detail)
        self._told = len(published)
        for key, version_id, size in self.outbox():
            if (key, version_id) not in self._announced:
                self._announced.add((key, version_id))
                world = self.worlds[key.partition("/")[0]]
                world.arrive(world.drop_event(key, version_id, size))

    def event(self, detail: Mapping[str, Any]) -> None:
        """Let one event that a document has arrived come to route."""
        body = json.dumps({"detail-type": DOCUMENT_RECEIVED, "detail": detail})
        self.sqs.send_message_batch(QueueUrl="own", Entries=[{"MessageBody": body}])

    def outbox(self) -> list[tuple[str, str, int]]:
        """Return key, version and size of every version in the outbox."""
        pages = self.hub.client("s3").get_paginator("list_object_versions").paginate(Bucket=OUTBOX)
        return [(each["Key"], each["VersionId"], each["Size"]) for page in pages for each in page.get("Versions", [])]

    def outbox_keys(self) -> list[str]:
        """Return the key of every version in the outbox, in the order of the alphabet."""
        return [key for key, _, _ in self.outbox()]

    # --- turns ---

    def route(self) -> dict[str, Any]:
        """Invoke route once with what is visible in its queue."""
        own = self.services
        records = self.sqs.receive("own", BATCH)
        answer = each_record(
            records,
            RouteRequest,
            lambda request, _: route(request, own, Deadline(self.deadline_seconds)),
            queue=own.own_queue,
            tries=RECEIVES,
        )
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        self.sqs.delete("own", {record["messageId"] for record in records} - failed)
        return {"worked": len(records), **answer}

    def settle(self, rounds: int = 3) -> None:
        """Let everything happen that happens by itself, time included."""
        for _ in range(rounds):
            for world in self.worlds.values():
                world.settle("poll", "acknowledge", "track", rounds=1)
                self.bring_events()
                while self.route()["worked"]:
                    self.bring_events()
                world.drain()
            self.hub.clock.forward(seconds=PAUSE_SECONDS)

    def receipt(self, key: str) -> dict[str, Any]:
        """Return a receipt."""
        return self.hub.receipt(key)
