"""What happens too rarely to wait for it in simulated runs: played on purpose, with the real verbs of each portal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NoReturn, cast

from amtsbote.chain import UPLOAD_LIVES
from amtsbote.errors import Quarantine, Retry
from amtsbote.inbox import PART_BYTES
from amtsbote.keys import document_key, item_prefix, receipt_key
from amtsbote.messages import ConnectionTask, RouteRequest, Task, Tick
from amtsbote.portals.protocols import Outcome
from amtsbote.routing import RoutingRules, read_routing_rules
from amtsbote.verbs.acknowledge import acknowledge
from amtsbote.verbs.deliver import deliver
from amtsbote.verbs.dispatch import dispatch
from amtsbote.verbs.fetch import fetch
from amtsbote.verbs.poll import poll
from amtsbote.verbs.retain import retain
from amtsbote.verbs.route import route
from amtsbote.verbs.track import track
from tests.flows.world import World
from tests.privileges.recorder import EVERY, Record
from tests.privileges.scene import (
    CONNECTION,
    DROPS,
    FIRST,
    ITEM,
    NO_PORTALS,
    ONLY,
    PRINTED,
    REFERENCE,
    UNROUTED,
    Overtaken,
    Scene,
    SomebodyDeletes,
)
from tests.simulation.account import INBOX, OUTBOX


def a_secret_that_is_wrong(scene: Scene) -> None:
    """Dispatch marks the connection, and says so."""
    scene.secret("no JSON")
    dispatch(Tick(portal=scene.portal, task=Task.POLL), scene.services("dispatch"))


def a_turn_of_every_schedule(scene: Scene) -> None:
    """Dispatch queues each task, as there is work for each."""
    scene.store()
    scene.send()
    for task in (Task.POLL, Task.ACKNOWLEDGE, Task.TRACK):
        dispatch(Tick(portal=scene.portal, task=task), scene.services("dispatch"))


def a_login_that_is_refused(scene: Scene) -> None:
    """Poll marks the connection, and says so."""
    scene.script.refuses = True
    poll(scene.task(Task.POLL), scene.services("poll"), scene.deadline())


def a_comparison_that_reads_every_file(scene: Scene) -> None:
    """Poll reads what is stored."""
    scene.store()
    poll(scene.task(Task.RECONCILE, deep=True), scene.services("poll"), scene.deadline())


def a_document_that_its_backend_has_processed(scene: Scene) -> None:
    """Acknowledge sees its tag, and the portal is told; at last it is erased, though not at the first try."""
    scene.secret('{"acknowledge": "processed"}')
    scene.store()
    tagged = {"TagSet": [{"Key": "processed", "Value": "true"}]}
    key = document_key(item_prefix(scene.portal, CONNECTION, ITEM))
    scene.account.s3.put_object_tagging(Bucket=INBOX, Key=key, Tagging=tagged)
    acknowledge(scene.task(Task.ACKNOWLEDGE), scene.services("acknowledge"), scene.deadline())
    scene.clock.now += timedelta(days=2)
    kept, scene.account.dynamodb = scene.account.dynamodb, cast(Any, Overtaken(scene.account.dynamodb))
    retain(Tick(portal=EVERY, task=Task.RETAIN), scene.services("retain"), scene.deadline())
    scene.account.dynamodb = kept
    retain(Tick(portal=EVERY, task=Task.RETAIN), scene.services("retain"), scene.deadline())


def a_comparison_that_does_not_fit_into_one_invocation(scene: Scene) -> None:
    """Poll queues the rest for itself, and goes on with its report."""
    poll(scene.task(Task.RECONCILE), scene.services("poll"), scene.deadline(1.0))
    (request,) = scene.account.receive("poll", 1)
    goes_on = ConnectionTask.model_validate_json(request["body"])
    poll(goes_on, scene.services("poll"), scene.deadline())


def a_request_to_go_on_whose_report_is_not_there(scene: Scene) -> None:
    """Poll sees that there is nothing to go on with."""
    poll(scene.task(Task.RECONCILE, goes_on=scene.clock()), scene.services("poll"), scene.deadline())


def a_large_file_that_breaks_off(scene: Scene) -> None:
    """Fetch gives up the upload of which parts have left."""
    scene.script.chunks, scene.script.size = (bytes(PART_BYTES), b"and then nothing"), 2 * PART_BYTES
    poll(scene.task(Task.POLL), scene.services("poll"), scene.deadline())
    with_retry(lambda: fetch(scene.item, FIRST, scene.services("fetch"), scene.deadline()))


def a_file_that_cannot_be_read(scene: Scene) -> None:
    """Fetch puts it into quarantine."""
    scene.script.verify = refuse_to_read
    scene.store()


def refuse_to_read(_: object) -> NoReturn:
    """Find a file unreadable."""
    raise Quarantine("UNREADABLE", "the file cannot be read")


def a_document_that_is_gone_before_it_is_acknowledged(scene: Scene) -> None:
    """Acknowledge sees that it is not there."""
    scene.store()
    scene.delete(INBOX, document_key(item_prefix(scene.portal, CONNECTION, ITEM)))
    acknowledge(scene.task(Task.ACKNOWLEDGE), scene.services("acknowledge"), scene.deadline())


def a_delivery_that_does_not_fit_into_one_invocation(scene: Scene) -> None:
    """Deliver queues its own continuation."""
    scene.script.out_of_time = True
    deliver(scene.drop(DROPS[scene.portal]), FIRST, scene.services("deliver"), scene.deadline())


def a_drop_that_vanished(scene: Scene) -> None:
    """Deliver is told that it is not there."""
    request = scene.drop(DROPS[scene.portal])
    scene.delete(OUTBOX, DROPS[scene.portal])
    deliver(request, FIRST, scene.services("deliver"), scene.deadline())


def a_receipt_that_is_gone_when_its_delivery_ends(scene: Scene) -> None:
    """Track writes it anew."""
    scene.send()
    scene.delete(INBOX, receipt_key(DROPS[scene.portal]))
    scene.script.outcome = Outcome.DELIVERED
    track(scene.task(Task.TRACK), scene.services("track"), scene.deadline())


def a_receipt_that_is_gone_when_its_event_comes_again(scene: Scene) -> None:
    """Deliver writes it anew."""
    scene.send()
    scene.delete(INBOX, receipt_key(DROPS[scene.portal]))
    request = scene.event_of(DROPS[scene.portal])
    deliver(request, FIRST, scene.services("deliver"), scene.deadline())


def a_document_to_route_that_is_not_there(scene: Scene) -> None:
    """Route is told so, and lets the request come again."""
    with_retry(lambda: route(arrived(scene), scene.services("route", routing()), scene.deadline()))


def a_copy_that_does_not_fit_into_one_invocation(scene: Scene) -> None:
    """Route queues the rest for itself."""
    scene.store()
    route(arrived(scene), scene.services("route", routing()), scene.deadline(0.0))


def a_copy_whose_place_is_taken(scene: Scene) -> None:
    """Route looks whether what lies there is its own."""
    scene.store()
    taken = DROPS["digitale-gemeinde"] if scene.portal == "docxworld" else PRINTED
    scene.drop(taken)
    with_retry(lambda: route(arrived(scene), scene.services("route", routing()), scene.deadline()))


def a_copy_that_was_begun_too_long_ago(scene: Scene) -> None:
    """Route gives the old upload up and begins anew."""
    scene.store()
    route(arrived(scene), scene.services("route", routing()), scene.deadline(0.0))
    scene.clock.now += UPLOAD_LIVES
    route(arrived(scene), scene.services("route", routing()), scene.deadline())


def a_receipt_that_goes_while_it_is_erased(scene: Scene) -> None:
    """Retain is told that it is not there, and erases the rest."""
    scene.script.outcome = Outcome.DELIVERED
    scene.send()
    scene.account.s3 = cast(Any, SomebodyDeletes(scene.account.s3))
    retain(Tick(portal=EVERY, task=Task.RETAIN), scene.services("retain"), scene.deadline())


def a_task_that_must_wait(scene: Scene) -> None:
    """Each function gives its message back to its queue: the portal asks for time, and the ledger takes no change."""
    dispatching, polling, telling, tracking, erasing = (scene.another() for _ in range(5))
    dispatching.contended().invoke("dispatch", Task.POLL)
    polling.contended().invoke("poll", Task.POLL)
    telling.store()
    telling.contended().invoke("acknowledge", Task.ACKNOWLEDGE)
    tracking.send()
    tracking.contended().invoke("track", Task.TRACK)
    erasing.script.outcome = Outcome.DELIVERED
    erasing.send()
    erasing.contended().invoke("retain", Task.RETAIN)


def an_item_a_drop_and_a_copy_that_must_wait(scene: Scene) -> None:
    """Likewise where a message is about one thing."""
    fetching, sending, copying = (scene.another() for _ in range(3))
    poll(fetching.task(Task.POLL), fetching.services("poll"), fetching.deadline())
    fetching.contended()
    fetching.handle("fetch", fetching.item, lambda own: fetch(fetching.item, FIRST, own, fetching.deadline()))
    request = sending.drop(DROPS[scene.portal])
    sending.contended()
    sending.handle("deliver", request, lambda own: deliver(request, FIRST, own, sending.deadline()))
    copying.handle("route", arrived(copying), lambda own: route(arrived(copying), own, copying.deadline()))


def a_drop_of_no_portal_that_must_wait(scene: Scene) -> None:
    """Likewise the function that refuses."""
    request = scene.drop(NO_PORTALS)
    scene.contended()
    scene.handle("deliver", request, lambda own: deliver(request, FIRST, own, scene.deadline()))


def a_document_that_answers_a_routed_drop(scene: Scene) -> None:
    """Route finds the drop by what the portal calls it: a query that only moto's table understands."""
    scene.account.dynamodb = World("docxworld").client("dynamodb")
    form = scene.beside("digitale-gemeinde")
    form.store()
    route(arrived(form), form.services("route", routing()), form.deadline())
    deliver(scene.event_of(PRINTED), FIRST, scene.services("deliver"), scene.deadline())
    scene.script.record = {"referenceId": REFERENCE}
    scene.store()
    route(arrived(scene), scene.services("route", routing()), scene.deadline())


def a_drop_of_no_portal(scene: Scene) -> None:
    """Its function refuses it, and says so in a receipt."""
    deliver(scene.drop(NO_PORTALS), ONLY, scene.services("deliver"), scene.deadline())


OF_EVERY_PORTAL: Sequence[Callable[[Scene], None]] = (
    a_turn_of_every_schedule,
    a_secret_that_is_wrong,
    a_login_that_is_refused,
    a_document_that_its_backend_has_processed,
    a_comparison_that_reads_every_file,
    a_comparison_that_does_not_fit_into_one_invocation,
    a_request_to_go_on_whose_report_is_not_there,
    a_large_file_that_breaks_off,
    a_file_that_cannot_be_read,
    a_document_that_is_gone_before_it_is_acknowledged,
    a_delivery_that_does_not_fit_into_one_invocation,
    a_drop_that_vanished,
    a_receipt_that_is_gone_when_its_delivery_ends,
    a_receipt_that_is_gone_when_its_event_comes_again,
    a_document_to_route_that_is_not_there,
    a_copy_that_does_not_fit_into_one_invocation,
    a_copy_whose_place_is_taken,
    a_copy_that_was_begun_too_long_ago,
    a_receipt_that_goes_while_it_is_erased,
    a_task_that_must_wait,
    an_item_a_drop_and_a_copy_that_must_wait,
)


def play(record: Record) -> None:
    """Let all of it happen; within moto."""
    for portal in DROPS:
        for happens in OF_EVERY_PORTAL:
            happens(Scene(portal, record))
    a_document_that_answers_a_routed_drop(Scene("docxworld", record))
    a_drop_of_no_portal(Scene(UNROUTED, record))
    a_drop_of_no_portal_that_must_wait(Scene(UNROUTED, record))


def routing() -> RoutingRules:
    """Return rules that send every file to the printer, and what the printer says of it to a form."""
    printed = [
        {"name": f"print-{portal}", "from": {"portal": portal}, "to": f"docxworld/{CONNECTION}/BRIEF/{{id}}-{{name}}"}
        for portal in DROPS
        if portal != "docxworld"
    ]
    told = {"name": "tell", "from": {"portal": "docxworld"}, "to": DROPS["digitale-gemeinde"]}
    return read_routing_rules(json.dumps([*printed, told]))


def arrived(scene: Scene) -> RouteRequest:
    """Return the event that the item has arrived."""
    detail = {"portal": scene.portal, "connection": CONNECTION, "id": ITEM}
    return RouteRequest.model_validate({"detail": detail})


def with_retry(work: Callable[[], object]) -> None:
    """Do what asks to come again."""
    try:
        work()
    except Retry:
        return
    raise AssertionError("it was done at once")
