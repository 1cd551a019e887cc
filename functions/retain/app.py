"""retain: erases content that has been kept for long enough."""

from typing import Any

import amtsbote.initialisation  # noqa: F401 - first, as it says
from amtsbote.deadline import Deadline, LambdaContext
from amtsbote.lambda_services import services
from amtsbote.messages import Tick
from amtsbote.observability import observed
from amtsbote.queues import BatchResponse, each_record
from amtsbote.verbs.retain import retain


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> BatchResponse:
    """Erase what the rules say, as much as there is time for; report the ticks that must come again."""
    own, deadline = services(), Deadline.of(context)
    return each_record(
        event["Records"],
        Tick,
        lambda request, _: retain(request, own, deadline),
        queue=own.own_queue,
        tries=own.settings.tries,
    )
