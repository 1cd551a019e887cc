"""How long a portal keeps what it has not been told of, as far as that is known; and when the stack raises an alarm."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from amtsbote.portals import NAMES

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

KEPT_FOR: Mapping[str, timedelta] = {"duba": timedelta(days=30)}
"""What the portals say themselves; the others name no time."""


@dataclass(frozen=True)
class Patience:
    """How old the oldest document of a connection is of which its portal has not been told, and what it may be."""

    age: timedelta
    alarm: timedelta | None
    kept_for: timedelta | None

    @property
    def limit(self) -> timedelta | None:
        """Return the age that is measured against: the portal's own time, else the stack's alarm."""
        return self.kept_for or self.alarm

    @property
    def share(self) -> int:
        """Return how much of the limit is used up, in percent; 100 where it is all."""
        return min(int(100 * self.age / self.limit), 100) if self.limit else 0

    @property
    def is_late(self) -> bool:
        """Return whether the age is one that raises an alarm."""
        return self.alarm is not None and self.age >= self.alarm


def alarms_of(client: "CloudFormationClient", stack: str) -> dict[str, timedelta]:
    """Return from which age on a document that a portal has not been told of raises an alarm, by portal."""
    (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    values = {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])}
    named = {portal: values.get(parameter_of(portal), "") for portal in NAMES}
    return {portal: timedelta(seconds=int(text)) for portal, text in named.items() if text.isdecimal()}


def parameter_of(portal: str) -> str:
    """Return the template's parameter with a portal's age of alarm."""
    return f"{portal.title().replace('-', '')}UnacknowledgedAlarmSeconds"
