"""deliver: sends outbox objects to their portal."""

from typing import Any

import amtsbote.initialisation  # noqa: F401 - first, as it says
from amtsbote.deadline import Deadline, LambdaContext
from amtsbote.lambda_services import services
from amtsbote.messages import DropRequest
from amtsbote.observability import observed
from amtsbote.queues import BatchResponse, each_record
from amtsbote.verbs.deliver import deliver


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> BatchResponse:
    """Deliver each dropped object; report the ones that must come again."""
    own, deadline = services(), Deadline.of(context)
    return each_record(
        event["Records"],
        DropRequest,
        lambda request, attempt: deliver(request, attempt, own, deadline),
        queue=own.own_queue,
        tries=own.settings.tries,
    )
