"""Routing rules: which arriving document is copied into whose outbox. Pure, no I/O; `verbs.route` acts on them.

Written as JSON in the template's parameter `RoutingRules`; docs/routing.md explains them.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from amtsbote.chain import HOPS_AT_MOST, MARK, Provenance
from amtsbote.errors import Reject
from amtsbote.keys import CONNECTION_NAME, DROP_RULES, KEY_BYTES, parse_drop, receipt_key
from amtsbote.portals import NAMES

RULE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
METADATA_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
METADATA_BYTES = 768  # S3 takes 2 KB of user metadata; the mark of a drop needs the rest, as ids may be long
VALUE_BYTES = 200
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
KNOWN = re.compile(r"(origin\.)?(portal|connection|id(\.\d+)?|metadata(\.[^.{}]+)+)|name")
HINT = "portal, connection, id, name, metadata.<path>, and with origin. before them all but name"
RULE_FIELDS = frozenset({"name", "from", "files", "to", "metadata"})
FROM_FIELDS = frozenset({"portal", "connection", "match"})
RECORDS = frozenset({"form.json", "instance.json"})
"""The portal's own record of an item, as a file; copied only where a rule names it."""
SAMPLE = "1"
BRINGS_NOTHING = re.compile(
    r"digitale-gemeinde/.*|altinn/(?!.*\.instance\.json$).*|docxworld/([^/]+/approvals/.*|.*\.cancel\.json)", re.DOTALL
)
"""Drops after which nothing new arrives from the portal, so that no rule goes on from there."""


@dataclass(frozen=True)
class Arrived:
    """One document in the inbox, as its document.json says; `metadata` is the portal's own record."""

    portal: str
    connection: str
    id: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """What placeholders stand for: the document, the name of one of its files, and the origin of what it answers."""

    document: Arrived
    name: str
    origin: Arrived | None = None


@dataclass(frozen=True)
class Target:
    """Where a file goes: its key in the outbox and its user metadata."""

    key: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class RoutingRule:
    """One rule: files of documents `from` there go `to` a key of the outbox. `match`: path → any of these values."""

    name: str
    portal: str
    to: str
    connection: str | None = None
    match: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs_origin(self) -> bool:
        """Return whether the rule is only for documents that answer something routed."""
        return any(name.startswith("origin.") for text in self._texts() for name in PLACEHOLDER.findall(text))

    @property
    def target_account(self) -> tuple[str, str | None]:
        """Return the portal and the connection that the rule sends to, None for one that the document decides."""
        portal, connection, *_ = self.to.split("/")
        return portal, None if PLACEHOLDER.search(connection) else connection

    def is_for(self, document: Arrived) -> bool:
        """Return whether the document is one that the rule is about."""
        if self.portal != document.portal or self.connection not in (None, document.connection):
            return False
        return all(value_at(document.metadata, path) in values for path, values in self.match.items())

    def chosen(self, names: Collection[str]) -> list[str]:
        """Return the names of the files that the rule copies."""
        if self.files is None:
            return [name for name in names if name not in RECORDS]
        return [name for name in names if fnmatchcase(name.casefold(), self.files.casefold())]

    def target(self, context: Context) -> Target:
        """Return where a file goes; Reject, naming the placeholder and no value, where that cannot be said."""
        key = PLACEHOLDER.sub(lambda found: self._in_key(found[1], context), self.to)
        if len(receipt_key(key).encode()) > KEY_BYTES:
            raise self._refusal("KEY_TOO_LONG", f"the key has more than {KEY_BYTES} bytes with that of its receipt")
        parse_drop(key)
        metadata = {name: self._filled(text, context) for name, text in self.metadata.items()}
        if sum(len(name) + len(text) for name, text in metadata.items()) > METADATA_BYTES:
            raise self._refusal("METADATA_TOO_LONG", f"the metadata has more than {METADATA_BYTES} bytes")
        return Target(key, metadata)

    def _in_key(self, name: str, context: Context) -> str:
        safe = part_of_key(self._value(name, context))
        if not safe.strip(". ") or len(safe.encode()) > VALUE_BYTES:
            raise self._refusal("PLACEHOLDER_UNFIT", f"{{{name}}} cannot be part of a key: it is empty or too long")
        return safe

    def _filled(self, text: str, context: Context) -> str:
        return in_header(PLACEHOLDER.sub(lambda found: self._value(found[1], context), text))

    def _value(self, name: str, context: Context) -> str:
        found = value_of(name, context)
        if not found:
            raise self._refusal("PLACEHOLDER_EMPTY", f"{{{name}}} has no value in this document; mend the rule")
        return found

    def _refusal(self, code: str, message: str) -> Reject:
        return Reject(code, f"routing rule {self.name}: {message}")

    def _texts(self) -> tuple[str, ...]:
        return (self.to, *self.metadata.values())


@dataclass(frozen=True)
class RoutingRules:
    """All rules, in the order in which they are written; each works by itself."""

    rules: Sequence[RoutingRule] = ()

    def for_document(self, document: Arrived) -> list[RoutingRule]:
        """Return the rules that a document is for."""
        return [rule for rule in self.rules if rule.is_for(document)]


# --- one document ----------------------------------------------------------------------------------------------------


def next_provenance(item: str, rule: str, answered: Provenance | None) -> Provenance:
    """Return where a copy of an item's file comes from; `answered` is where the drop comes from that it answers."""
    if answered is None:
        return Provenance(item, rule, 1, item)
    return Provenance(item, rule, answered.hops + 1, answered.root)


def check_hops(provenance: Provenance) -> None:
    """Reject what has passed too many rules."""
    if provenance.hops > HOPS_AT_MOST:
        said = f"routing rule {provenance.rule}: the document has passed {HOPS_AT_MOST} rules already; it stays here"
        raise Reject("TOO_MANY_HOPS", said)


def value_of(name: str, context: Context) -> str | None:
    """Return what a placeholder stands for, None where the document does not say it."""
    if name == "name":
        return context.name
    of_origin = name.startswith("origin.")
    document = context.origin if of_origin else context.document
    return None if document is None else _fact(name.removeprefix("origin."), document)


def _fact(name: str, document: Arrived) -> str | None:
    first, _, rest = name.partition(".")
    if first == "metadata":
        return value_at(document.metadata, rest)
    if first != "id" or not rest:
        return str(getattr(document, first))
    parts = document.id.split("/")
    return parts[int(rest)] if int(rest) < len(parts) else None


def value_at(record: Any, path: str) -> str | None:
    """Return the text or whole number at a dotted path (a number counts in a list); None where there is none."""
    for name in path.split("."):
        if isinstance(record, list):
            record = record[int(name)] if name.isdecimal() and int(name) < len(record) else None
        else:
            record = record.get(name) if isinstance(record, Mapping) else None
    is_value = isinstance(record, str | int) and not isinstance(record, bool)
    return str(record) if is_value else None


def part_of_key(value: str) -> str:
    """Return a value as a part of a key: NFC, without control characters, `-` for every slash."""
    plain = re.sub(r"[/\\]", "-", unicodedata.normalize("NFC", value.encode("utf-8", "replace").decode("utf-8")))
    return "".join(char for char in plain if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))


def in_header(value: str) -> str:
    """Return a value as a header takes it: letters without their marks (`Müller` is `Muller`), `?` for what is left."""
    plain = unicodedata.normalize("NFKD", value.replace("ß", "ss").replace("ẞ", "SS"))
    kept = "".join(char for char in plain if not unicodedata.combining(char))
    printable = "".join(char if char.isprintable() else " " for char in kept)
    return printable.encode("ascii", "replace").decode("ascii").strip()


# --- reading the rules -----------------------------------------------------------------------------------------------


def read_routing_rules(text: str) -> RoutingRules:
    """Return the rules that a JSON text gives; ValueError with a sentence that names rule, field and mend."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the routing rules are no JSON; write a list of objects, or [] for none") from None
    if not isinstance(said, list):
        raise ValueError("the routing rules are no list; write [] around them")
    rules = [_read_rule(number, each) for number, each in enumerate(said, start=1)]
    names = [rule.name for rule in rules]
    for name in names:
        _require(names.count(name) == 1, name, "name", "two rules have it; give each a name of its own")
    _refuse_loops(rules)
    return RoutingRules(tuple(rules))


def _read_rule(number: int, said: Any) -> RoutingRule:
    place = f"number {number}"
    _require(isinstance(said, dict), place, "all of it", "it is no object")
    name = said.get("name")
    fits = isinstance(name, str) and RULE_NAME.fullmatch(name) is not None
    _require(fits, place, "name", "give it one of a-z, 0-9 and -, at most 40 letters")
    _require_fields(said, RULE_FIELDS, name, "")
    source, to = said.get("from"), said.get("to")
    _require(isinstance(source, dict), name, "from", 'say what is routed, such as {"portal": "duba"}')
    _require(isinstance(to, str), name, "to", 'say where it goes, such as "docxworld/druck/BRIEF/{id}-{name}"')
    rule = RoutingRule(
        name, _portal(name, source), to, _connection(name, source), _match(name, source), *_files_and_metadata(said)
    )
    _check_to(rule)
    return rule


def _portal(name: str, source: Mapping[str, Any]) -> str:
    _require_fields(source, FROM_FIELDS, name, "from.")
    portal = source.get("portal")
    _require(portal in NAMES, name, "from.portal", f"name one of {', '.join(NAMES)}")
    return str(portal)


def _connection(name: str, source: Mapping[str, Any]) -> str | None:
    connection = source.get("connection")
    fits = connection is None or (isinstance(connection, str) and CONNECTION_NAME.fullmatch(connection) is not None)
    _require(fits, name, "from.connection", "name a connection (a-z, 0-9 and -), or leave it out for all")
    return connection


def _match(name: str, source: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    said = source.get("match", {})
    _require(isinstance(said, dict), name, "from.match", 'write paths and values, such as {"formId": ["4711"]}')
    return {path: tuple(_values(name, path, values)) for path, values in said.items()}


def _values(name: str, path: str, said: Any) -> Iterator[str]:
    values = said if isinstance(said, list) else [said]
    fits = values and all(isinstance(each, str | int) and not isinstance(each, bool) for each in values)
    _require(bool(fits), name, f"from.match.{path}", "give texts or whole numbers, one at least")
    yield from map(str, values)


def _files_and_metadata(said: Mapping[str, Any]) -> tuple[str | None, dict[str, str]]:
    name, files, metadata = said["name"], said.get("files"), said.get("metadata", {})
    fits = files is None or (isinstance(files, str) and files != "")
    _require(fits, name, "files", 'write one pattern, such as "*.pdf", or leave it out for all')
    _require(isinstance(metadata, dict), name, "metadata", 'write names and texts, such as {"priority": "HI"}')
    for each, text in metadata.items():
        _check_metadata(name, each, text)
    return files, metadata


def _check_metadata(name: str, each: str, text: Any) -> None:
    place = f"metadata.{each}"
    fits = METADATA_NAME.fullmatch(each) is not None and not each.startswith(MARK)
    _require(fits, name, place, f"a name has a-z, 0-9, . _ and -, and does not begin with {MARK}")
    _require(isinstance(text, str), name, place, "write a text")
    _check_placeholders(name, place, text)


def _check_to(rule: RoutingRule) -> None:
    _check_placeholders(rule.name, "to", rule.to)
    portal = rule.to.partition("/")[0]
    _require(portal in DROP_RULES, rule.name, "to", f"begin it with one of {', '.join(DROP_RULES)}")
    try:
        parse_drop(_sample(rule))
    except Reject as error:
        _require(False, rule.name, "to", error.message)


def _sample(rule: RoutingRule) -> str:
    return PLACEHOLDER.sub(SAMPLE, rule.to)


def _check_placeholders(name: str, place: str, text: str) -> None:
    for found in PLACEHOLDER.findall(text):
        known = KNOWN.fullmatch(found) is not None
        _require(known, name, place, f"{{{found}}} is no placeholder; there are {HINT}")
    rest = PLACEHOLDER.sub("", text)
    _require("{" not in rest and "}" not in rest, name, place, "a brace stands alone; write {…} around a placeholder")


def _require_fields(said: Mapping[str, Any], known: Collection[str], name: str, prefix: str) -> None:
    for each in said:
        _require(each in known, name, f"{prefix}{each}", f"there is no such field, only {', '.join(sorted(known))}")


def _require(fits: bool, name: str, place: str, mend: str) -> None:
    if not fits:
        raise ValueError(f"routing rule {name}, {place}: {mend}")


# --- loops -----------------------------------------------------------------------------------------------------------


def _refuse_loops(rules: Sequence[RoutingRule]) -> None:
    """Refuse rules by which a document could go round for ever; what brings nothing back ends a way."""
    ways = {rule.name: [other.name for other in rules if _leads_to(rule, other)] for rule in rules}
    for name in ways:
        way = _way_back(name, lambda each: ways[each])
        if way:
            said = f"{' → '.join(way)} is a loop, in which a document would go round; narrow `from` or change `to`"
            _require(False, name, "to", said)


def _leads_to(rule: RoutingRule, other: RoutingRule) -> bool:
    portal, connection = rule.target_account
    if BRINGS_NOTHING.fullmatch(_sample(rule)) or portal != other.portal:
        return False
    return connection is None or other.connection in (None, connection)


def _way_back(start: str, following: Callable[[str], list[str]]) -> list[str] | None:
    """Return a way from a rule to itself, None where there is none."""
    ways, seen = [[start]], set[str]()
    while ways:
        way = ways.pop()
        for name in following(way[-1]):
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return None
