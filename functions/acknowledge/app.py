"""acknowledge: tells the portal what is safely stored."""

from typing import Any

import amtsbote.initialisation  # noqa: F401 - first, as it says
from amtsbote.deadline import Deadline, LambdaContext
from amtsbote.lambda_services import services
from amtsbote.messages import ConnectionTask
from amtsbote.observability import observed
from amtsbote.queues import BatchResponse, each_record
from amtsbote.verbs.acknowledge import acknowledge


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> BatchResponse:
    """Acknowledge for each connection that is asked for; report the ones that must come again."""
    own, deadline = services(), Deadline.of(context)
    return each_record(
        event["Records"],
        ConnectionTask,
        lambda request, _: acknowledge(request, own, deadline),
        queue=own.own_queue,
        tries=own.settings.tries,
    )
