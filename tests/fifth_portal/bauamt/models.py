"""What Bauamt says, as far as we rely on it."""

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Said(BaseModel):
    """Something the portal said: camelCase, and never shown in an error."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, hide_input_in_errors=True)


class Application(Said):
    """What every listed application must say; the rest stays in its record."""

    id: Annotated[str, Field(min_length=1)]
    submitted_at: AwareDatetime


class Page(Said):
    """One page of the list: the applications' records as they were answered, and how many pages there are."""

    applications: tuple[dict[str, Any], ...]
    pages: int


class Reply(Said):
    """A reply of the office on its way to the applicant; `state` is QUEUED, SENT or RETURNED."""

    id: Annotated[str, Field(min_length=1)]
    state: str
