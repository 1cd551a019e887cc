"""Connections: which there are, whether they work, new ones, and pauses."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from amtsbote.connections import validated
from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, Reject
from amtsbote.http import Transport
from amtsbote.messages import Task
from amtsbote.operations.office import Account, Intent, Office, is_connection
from amtsbote.operations.sentences import Sentence, said
from amtsbote.operations.trail import on_trail
from amtsbote.portals import NAMES, portal_named
from amtsbote.portals.portal import Connection, Tools
from amtsbote.tokens import TokenCache

TEST_SECONDS = 120.0
LOOKS_BACK = timedelta(days=1)
NAME_RULE = "it is made of a-z, 0-9 and -, at most 40 of them"


@dataclass(frozen=True)
class Listed:
    """One connection by its name, whether it is switched on, and what is wrong with its secret."""

    connection: str
    enabled: bool
    acknowledge: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Tested:
    """What a test of a connection found: a sentence, and whether all is well as far as it can be told."""

    connection: str
    works: bool
    says: str


@dataclass(frozen=True)
class Wanted:
    """One value that a portal's secret needs: its path in the JSON, whether it is secret, and what it may be."""

    path: tuple[str, ...]
    secret: bool
    many: bool
    choices: tuple[str, ...] = ()


def connections(office: Office, portal: str | None = None) -> list[Listed]:
    """Return all connections, or those of one portal."""
    return [_listed(office, account) for account in office.accounts(portal)]


def check(office: Office, account: Account) -> Tested:
    """Log in, list what the portal has, and say in a sentence how that went."""
    try:
        found = office.connections(account.portal).get(account.name, fresh=True)
    except AmtsboteError as error:
        return Tested(str(account), works=False, says=_of_error(error))
    return try_out(office, found)


def try_out(office: Office, connection: Connection) -> Tested:
    """Log in with a connection that need not be stored, and list what came lately. Nothing changes at the portal."""
    name = connection.prefix
    transport = Transport(Deadline(TEST_SECONDS), allow_loopback=office.allow_loopback)
    tools = Tools(transport, TokenCache(office.clock), office.clock)
    try:
        source = portal_named(connection.portal).source(connection, tools)
        if source is None:
            return Tested(
                name, works=True, says=said("the secret is well-formed; it only sends, so no login was tried")
            )
        found = list(source.discover(office.clock() - LOOKS_BACK))
    except AmtsboteError as error:
        return Tested(name, works=False, says=_of_error(error))
    return Tested(
        name, works=True, says=said("the login works, and the portal lists {count} documents", count=len(found))
    )


def _of_error(error: AmtsboteError) -> Sentence:
    return said("{code}: {message}", code=error.code, message=error.message)


def add(office: Office, account: Account, body: Mapping[str, Any]) -> tuple[Tested, Intent]:
    """Check a new connection's secret and its login, and return what that found with the intent to store it.

    Reject where there is such a connection, or where it cannot have that name; Misconfigured, naming the field and
    never a value, where the secret is wrong or its login does not work.
    """
    require_free(office, account)
    text = json.dumps(body, ensure_ascii=False)
    secret = validated(portal_named(account.portal).secret, account.secret, text)
    tested = try_out(office, Connection(account.portal, account.name, secret))
    if not tested.works:
        raise Misconfigured("LOGIN_FAILED", said("nothing was stored: {why}", why=tested.says))
    says = said("store the secret {secret}, which switches {connection} on", secret=account.secret, connection=account)
    return tested, on_trail(office, "add", [account], Intent(says, lambda: office.vault.write(account.secret, text)))


def require_free(office: Office, account: Account) -> None:
    """Reject where there is such a connection, or where it cannot have that name."""
    _require_name(account)
    if office.vault.read(account.secret) is not None:
        why = said("there is a secret {secret}; a new one needs another name", secret=account.secret)
        raise Reject("CONNECTION_EXISTS", why)


def pause(office: Office, account: Account) -> Intent:
    """Switch a connection off and keep its secret; what is under way waits."""
    return _switch(office, account, enabled=False)


def resume(office: Office, account: Account) -> Intent:
    """Switch a connection on again."""
    return _switch(office, account, enabled=True)


def reconcile(
    office: Office,
    portal: str | None = None,
    connection: str | None = None,
    *,
    everything: bool = False,
    deep: bool = False,
) -> Intent:
    """Compare portals, ledger and buckets now instead of at night.

    `everything` looks at all that there is and not only at the last three days, `deep` reads and hashes the files.
    """
    accounts = office.accounts(portal, connection)
    if not accounts:
        raise Reject("NO_CONNECTION", said("there is no such connection"))

    def ask() -> None:
        for account in accounts:
            office.ask_for(Task.RECONCILE, account, everything=everything or None, deep=deep or None)

    names = ", ".join(map(str, accounts))
    says = said("list everything that {names} has, fetch what is missing, and report what differs", names=names)
    return on_trail(office, "reconcile", accounts, Intent(says, ask))


def wanted_of(portal: str, chosen: Mapping[tuple[str, ...], str]) -> list[Wanted]:
    """Return what the secret of a portal's connection must hold, in the order of its schema.

    Where there is a choice of forms (`auth`), its `kind` is asked for first; `chosen` says which was taken.
    """
    return list(_wanted(portal_named(portal).secret, (), chosen))


# --- secrets ---------------------------------------------------------------------------------------------------------


def _listed(office: Office, account: Account) -> Listed:
    try:
        secret = office.connections(account.portal).get(account.name, fresh=True).secret
    except AmtsboteError as error:
        return Listed(str(account), enabled=False, problem=f"{error.code}: {error.message}")
    return Listed(str(account), enabled=secret.enabled, acknowledge=secret.acknowledge)


def _switch(office: Office, account: Account, *, enabled: bool) -> Intent:
    _require_name(account)
    body = office.vault.read(account.secret)
    try:
        content = json.loads(body or "")
    except ValueError:
        why = said("there is no secret {secret}, or it is no JSON", secret=account.secret)
        raise Reject("SECRET_INVALID", why) from None
    if not isinstance(content, dict):
        raise Reject("SECRET_INVALID", said("the secret {secret} is no JSON object", secret=account.secret))
    text = json.dumps({**content, "enabled": enabled}, ensure_ascii=False)
    off = "switch {connection} off; nothing of it is lost, and drops for it wait"
    says = said("switch {connection} on" if enabled else off, connection=account)
    intent = Intent(says, lambda: office.vault.write(account.secret, text))
    return on_trail(office, "resume" if enabled else "pause", [account], intent)


def _require_name(account: Account) -> None:
    if account.portal not in NAMES:
        why = said("{name} is no portal; there are {portals}", name=account.portal, portals=", ".join(NAMES))
        raise Reject("UNKNOWN_PORTAL", why)
    if not is_connection(account.portal, account.name):
        why = said("{name} cannot be a connection's name: {rule}", name=account.name, rule=said(NAME_RULE))
        raise Reject("WRONG_CONNECTION", why)


# --- what a secret needs ---------------------------------------------------------------------------------------------


def _wanted(model: type[BaseModel], path: tuple[str, ...], chosen: Mapping[tuple[str, ...], str]) -> Iterator[Wanted]:
    for name, field in model.model_fields.items():
        if field.is_required():
            yield from _of_field(field, (*path, field.alias or name), chosen)


def _of_field(field: FieldInfo, path: tuple[str, ...], chosen: Mapping[tuple[str, ...], str]) -> Iterator[Wanted]:
    forms = _forms(field.annotation)
    if not forms:
        many = get_origin(field.annotation) is tuple
        yield Wanted(path, secret=field.annotation is SecretStr, many=many)
        return
    kind = (*path, "kind")
    if len(forms) > 1:
        yield Wanted(kind, secret=False, many=False, choices=tuple(forms))
    form = forms.get(chosen.get(kind, next(iter(forms))))
    if form is not None:
        yield from _wanted(form, path, chosen)


def _forms(annotation: Any) -> dict[str, type[BaseModel]]:
    """Return the models that a field may hold, by their `kind`."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    models = [each for each in options if isinstance(each, type) and issubclass(each, BaseModel)]
    return {str(each.model_fields["kind"].default) if "kind" in each.model_fields else "": each for each in models}
