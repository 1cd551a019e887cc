"""How rows of one kind are read from the ledger and written into it."""

from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

Row = TypeVar("Row")


class Codec(Generic[Row]):
    """Checks and writes rows of one kind; worked out at the first of them, because a function meets few kinds."""

    def __init__(self, kind: type[Row]) -> None:
        self._kind = kind

    def read(self, found: object) -> Row:
        """Return the row that attributes hold; pydantic's ValidationError where they, or nothing at all, hold none."""
        return self._adapter.validate_python(found)

    def written(self, row: Row) -> dict[str, Any]:
        """Return what is written of a row, as JSON has it; what is None is left out."""
        attributes: dict[str, Any] = self._adapter.dump_python(row, mode="json", exclude_none=True)
        return attributes

    @cached_property
    def _adapter(self) -> TypeAdapter[Row]:
        return TypeAdapter(self._kind)
