"""Values of rows as DynamoDB's API spells them: text, bytes, whole numbers, truth, nothing, lists and maps of these.

boto3 has the same for more types; to load it for this would be a tenth of a first invocation.
"""

from collections.abc import Mapping
from typing import Any

Attribute = dict[str, Any]
"""One value in the API's spelling, such as `{"S": "text"}`."""


def attribute_of(value: object) -> Attribute:
    """Return a value in DynamoDB's spelling; TypeError where no row of the ledger may hold it, such as a float."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case bytes():
            return {"B": value}
        case list() | tuple():
            return {"L": [attribute_of(each) for each in value]}
        case Mapping():
            return {"M": {name: attribute_of(each) for name, each in value.items()}}
    raise TypeError(f"a row holds no {type(value).__name__}")


def value_of(attribute: Mapping[str, Any]) -> Any:
    """Return the value that DynamoDB spells so; TypeError where it is none that `attribute_of` gives."""
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL" | "B":
            return value
        case "N":
            return int(value)
        case "NULL":
            return None
        case "L":
            return [value_of(each) for each in value]
        case "M":
            return {name: value_of(each) for name, each in value.items()}
    raise TypeError(f"a row holds no {kind}")
