"""From a drop to the order that docxworld is asked for addresses with. No I/O.

docxworld's `referenceId` is what it recognises a repeat by, so it must belong to one object version and to no other:
it is the drop's derived reference. A backend's own `reference-id` is put in front of it, where people at the portal
see it and search for it, rather than in its place: a backend that drops a second version under the same reference-id
would otherwise be answered that the upload exists already, and the second version would never be sent.
"""

import hashlib
import re
from collections.abc import Mapping

from amtsbote.errors import Reject
from amtsbote.portals.docxworld.models import REFERENCE_LIMIT, Priority, UploadOrder
from amtsbote.portals.protocols import Drop

MULTIPART = "MULTIPART"
KEY_FORM = "docxworld/<connection>/<target>/<file name>"
DERIVED_CHARACTERS = 24  # of the hash behind a backend's reference-id: 96 bits
BACKEND_REFERENCE_LIMIT = REFERENCE_LIMIT - DERIVED_CHARACTERS - 1
CUSTOMER_REFERENCE = re.compile(r"customer-reference-(.*)")
CUSTOMER_REFERENCES = frozenset("123456")


def order_of(drop: Drop, target_id: str) -> UploadOrder:
    """Return what to ask for; Reject, naming the mistake and the mend, where docxworld would not take it."""
    check(drop)
    return UploadOrder.model_validate(
        {
            "supportedUploadFeatures": (MULTIPART,),
            "targetId": target_id,
            "referenceId": reference_of(drop),
            **_customer_references(drop.metadata),
            "fileName": drop.file_name,
            "priority": _priority(drop.metadata),
            "fileSize": drop.size,
        }
    )


def check(drop: Drop) -> None:
    """Reject a key that is no upload, and a file that is empty."""
    if len(drop.path) != 2 or not all(part.strip() for part in drop.path):
        raise Reject("KEY_FITS_NO_RULE", f"the key fits no rule; an upload is dropped as {KEY_FORM}")
    if drop.size == 0:
        raise Reject("FILE_EMPTY", "the file has no bytes: there is nothing to print; drop it again with its content")


def reference_of(drop: Drop) -> str:
    """Return the drop's `referenceId`: the same at every try, another for every version, at most 100 characters."""
    own = drop.metadata.get("reference-id", "").strip()
    if not own:
        return drop.reference
    if len(own) > BACKEND_REFERENCE_LIMIT:
        said = f"the user metadata reference-id may have {BACKEND_REFERENCE_LIMIT} characters; it has {len(own)}"
        raise Reject("REFERENCE_TOO_LONG", f"{said}; shorten it")
    return f"{own}.{hashlib.sha256(drop.reference.encode()).hexdigest()[:DERIVED_CHARACTERS]}"


def _priority(metadata: Mapping[str, str]) -> Priority:
    given = metadata.get("priority", Priority.NORMAL)
    try:
        return Priority(given)
    except ValueError:
        said = f"the user metadata priority may be NORMAL or HI, not {given[:40]!r}"
        raise Reject("PRIORITY_UNKNOWN", f"{said}; correct it") from None


def _customer_references(metadata: Mapping[str, str]) -> dict[str, str]:
    found = {key: CUSTOMER_REFERENCE.fullmatch(key) for key in metadata}
    return {
        f"jobCustomerReference{_number(key, match)}": _short(key, metadata[key])
        for key, match in found.items()
        if match
    }


def _number(key: str, match: re.Match[str]) -> str:
    if match[1] not in CUSTOMER_REFERENCES:
        raise Reject(
            "CUSTOMER_REFERENCE_UNKNOWN", f"the user metadata {key[:40]!r} is none of customer-reference-1 to -6"
        )
    return match[1]


def _short(key: str, value: str) -> str:
    if len(value) > REFERENCE_LIMIT:
        said = f"the user metadata {key} may have {REFERENCE_LIMIT} characters; it has {len(value)}"
        raise Reject("REFERENCE_TOO_LONG", f"{said}; shorten it")
    return value
