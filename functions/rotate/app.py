"""rotate: does one step of the rotation of a connection's secret, as Secrets Manager asks for it."""

from typing import Any

import amtsbote.initialisation  # noqa: F401 - first, as it says
from amtsbote.deadline import Deadline, LambdaContext
from amtsbote.lambda_services import services
from amtsbote.observability import observed
from amtsbote.rotation import RotationRequest
from amtsbote.verbs.rotate import rotate


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Do the step; an error makes Secrets Manager try the rotation again."""
    rotate(RotationRequest.model_validate(event), services(), Deadline.of(context))
