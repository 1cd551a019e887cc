"""route: copies arriving documents into the outbox, where the rules say."""

from typing import Any

import amtsbote.initialisation  # noqa: F401 - first, as it says
from amtsbote.deadline import Deadline, LambdaContext
from amtsbote.lambda_services import services
from amtsbote.messages import RouteRequest
from amtsbote.observability import observed
from amtsbote.queues import BatchResponse, each_record
from amtsbote.verbs.route import route


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> BatchResponse:
    """Route each document that arrived; report the ones that must come again."""
    own, deadline = services(), Deadline.of(context)
    return each_record(
        event["Records"],
        RouteRequest,
        lambda request, _: route(request, own, deadline),
        queue=own.own_queue,
        tries=own.settings.tries,
    )
