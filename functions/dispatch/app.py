"""dispatch: turns a schedule's tick into one request per connection."""

from typing import Any

import amtsbote.initialisation  # noqa: F401 - first, as it says
from amtsbote.deadline import LambdaContext
from amtsbote.lambda_services import services
from amtsbote.messages import Tick
from amtsbote.observability import observed
from amtsbote.queues import BatchResponse, each_record
from amtsbote.verbs.dispatch import dispatch


@observed
def handler(event: dict[str, Any], _context: LambdaContext) -> BatchResponse:
    """Queue each tick's task for every enabled connection; report the ticks that must come again."""
    own = services()
    return each_record(
        event["Records"],
        Tick,
        lambda request, _: dispatch(request, own),
        queue=own.own_queue,
        tries=own.settings.tries,
    )
