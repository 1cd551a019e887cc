"""The key grammar: which object lies where in the two buckets, and what an outbox key means. All of it is here."""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from urllib.parse import quote

from amtsbote.errors import Reject

CONNECTION_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
DOCUMENT = "document.json"
FILE_NAME_BYTES = 200
ITEM_ID_BYTES = 300
KEY_BYTES = 1024  # what S3 takes
FALLBACK_NAME = "file"
SECRET_ROOT = "amtsbote"  # noqa: S105 - a name
ADMINISTRATOR_ROOT = "amtsbote-admin"

DROP_RULES = {
    "docxworld": (
        "docxworld/<connection>/<target>/<file name>",
        "docxworld/<connection>/<target>/<file name>.cancel.json",
        "docxworld/<connection>/approvals/<task id>/decision.json",
        "docxworld/<connection>/approvals/<task id>/file.pdf",
        "docxworld/<connection>/drafts/<target>/<file name>",
    ),
    "altinn": (
        "altinn/<connection>/<org>/<app>/<partyId>/<instanceGuid>/<dataType>/<file name>",
        "altinn/<connection>/<org>/<app>/<name>.instance.json",
    ),
    "digitale-gemeinde": (
        "digitale-gemeinde/<connection>/<formId>/<documentId>/<fieldId>/<file name>",
        "digitale-gemeinde/<connection>/<formId>/<documentId>/status.json",
    ),
    "duba": ("duba/<connection>/<form name>/<name>.json",),
}
"""What may be dropped, by portal: `<…>` stands for a part of the key without a slash. The error texts show it."""

RESERVED = re.compile(
    r"docxworld/[^/]+/((approvals|drafts)/[^/]*|[^/]+/(\.cancel\.json|[^/]*(\.cancel\.json){2}))", re.DOTALL
)
"""Keys that look like a file for a target and are none: a part is missing, or a cancellation would be cancelled."""


def secret_prefix(portal: str) -> str:
    """Return what the names of all secrets of a portal begin with."""
    return f"{SECRET_ROOT}/{portal}/"


def administrator_secret(portal: str, connection: str) -> str:
    """Return the name of the secret with the login that rotates a connection's own."""
    return f"{ADMINISTRATOR_ROOT}/{portal}/{connection}"


def item_prefix(portal: str, connection: str, id_: str) -> str:
    """Return the key prefix of an item in the inbox, without a trailing slash."""
    return f"{portal}/{connection}/{safe_id(id_)}"


def document_key(prefix: str) -> str:
    """Return the key of the item's document.json, whose presence says that the document is there."""
    return f"{prefix}/{DOCUMENT}"


def quarantine_key(prefix: str, name: str) -> str:
    """Return where an unreadable file of an item is kept."""
    return f"quarantine/{prefix}/{name}"


def receipt_key(outbox_key: str) -> str:
    """Return the key of a drop's receipt in the inbox bucket."""
    return f"receipts/{outbox_key}.json"


HOSTILE_ID = re.compile(r"id-[0-9a-f]{64}")  # how a hostile id is written


def safe_id(id_: str) -> str:
    """Return an item id that cannot climb out of its place in the bucket; ordinary ids are left as they are."""
    safe = "/".join(quote(part, safe=" @:+=,~-._", errors="surrogatepass") for part in id_.split("/"))
    climbs = any(part in ("", ".", "..") for part in safe.split("/"))
    hostile = climbs or len(safe) > ITEM_ID_BYTES or HOSTILE_ID.fullmatch(safe)  # no two ids have one place
    return f"id-{sha256(id_.encode('utf-8', 'surrogatepass')).hexdigest()}" if hostile else safe


def safe_name(name: str, taken: Collection[str] = ()) -> str:
    """Return a file name without path and control characters, NFC, at most 200 bytes, not in `taken`.

    Names that differ only in case count as equal, because the backend's file system may think so too.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", _encodable(name)))[-1]
    kept = "".join(char for char in last if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
    short = _shortened(unicodedata.normalize("NFC", kept).strip(), FILE_NAME_BYTES)
    base = FALLBACK_NAME if all(char == "." or char.isspace() for char in short) else short  # such a name climbs: ".."
    used = {_caseless(other) for other in (*taken, DOCUMENT)}
    candidate, number = base, 1
    while _caseless(candidate) in used:
        number += 1
        candidate = _numbered(base, number)
    return candidate


def _caseless(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _encodable(name: str) -> str:
    return name.encode("utf-8", "replace").decode("utf-8")


def _shortened(name: str, limit: int) -> str:
    """Cut the stem, not the extension, to `limit` bytes of UTF-8."""
    if len(name.encode()) <= limit:
        return name
    stem, extension = _split(name)
    room = limit - len(extension.encode())
    return (stem.encode()[:room].decode("utf-8", "ignore").rstrip() or FALLBACK_NAME) + extension


def _numbered(name: str, number: int) -> str:
    stem, extension = _split(name)
    mark = f"-{number}"
    return _shortened(stem + extension, FILE_NAME_BYTES - len(mark)).removesuffix(extension) + mark + extension


def _split(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem or len(extension.encode()) > 20:
        return name, ""
    return stem, dot + extension


@dataclass(frozen=True)
class DropAddress:
    """What an outbox key says: for which account, and the path below `<portal>/<connection>/`."""

    portal: str
    connection: str
    path: tuple[str, ...]


def parse_drop(key: str) -> DropAddress:
    """Return the address of an outbox key. Reject, naming the rule, when the key fits none."""
    portal = key.partition("/")[0]
    rules = DROP_RULES.get(portal)
    if rules is None:
        known = "; ".join(rule for rules in DROP_RULES.values() for rule in rules)
        raise Reject("KEY_FITS_NO_RULE", f"the key begins with no portal that takes drops; it must look like {known}")
    if RESERVED.fullmatch(key) or not any(_pattern(rule).fullmatch(key) for rule in rules):
        raise Reject("KEY_FITS_NO_RULE", f"{_mistake(key)}; it must look like {' or '.join(rules)}")
    _, connection, *path = key.split("/")
    return DropAddress(portal, connection, tuple(path))


def _mistake(key: str) -> str:
    portal, _, rest = key.partition("/")
    if not CONNECTION_NAME.fullmatch(rest.partition("/")[0]):
        return "the key's second part is no connection name (a-z, 0-9 and -, at most 40)"
    if RESERVED.fullmatch(key):
        return f"the key fits no rule of {portal}, where approvals, drafts and .cancel.json have a meaning of their own"
    return f"the key fits no rule of {portal}"


@cache
def _pattern(rule: str) -> re.Pattern[str]:
    parts = re.split(r"(<[^>]+>)", rule)
    return re.compile("".join(_part(part) for part in parts), re.DOTALL)


def _part(part: str) -> str:
    if part == "<connection>":
        return CONNECTION_NAME.pattern
    return "[^/]+" if part.startswith("<") else re.escape(part)


def drop_reference(bucket: str, key: str, version_id: str) -> str:
    """Return the name of one object version at the portal: the same at every try, at most 100 characters."""
    digest = sha256("\n".join((bucket, key, version_id)).encode()).hexdigest()
    return f"amtsbote-{digest[:40]}"
