"""fetch: brings items into the inbox."""

from typing import Any

import amtsbote.initialisation  # noqa: F401 - first, as it says
from amtsbote.deadline import Deadline, LambdaContext
from amtsbote.lambda_services import services
from amtsbote.messages import FetchRequest
from amtsbote.observability import observed
from amtsbote.queues import BatchResponse, each_record
from amtsbote.verbs.fetch import fetch


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> BatchResponse:
    """Bring each requested item into the inbox; report the ones that must come again."""
    own, deadline = services(), Deadline.of(context)
    return each_record(
        event["Records"],
        FetchRequest,
        lambda request, attempt: fetch(request, attempt, own, deadline),
        queue=own.own_queue,
        tries=own.settings.tries,
        workers=own.settings.workers,
    )
