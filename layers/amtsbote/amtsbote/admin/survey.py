"""Looking at docxworld: reading what a file is about, and nothing else."""

from collections.abc import Callable
from functools import partial

from amtsbote.admin.account import Vault
from amtsbote.admin.actual import UUID, Actual
from amtsbote.admin.handover import held_login
from amtsbote.admin.wanted import Acting, Wanted
from amtsbote.portals.docxworld.administration import NotificationSetting, TechnicalAccess, UserWithSettings
from amtsbote.portals.docxworld.client import DocxworldClient


def acting_role(acting: Acting, part: str, own: str) -> str:
    """Return the role in which a part is administered: the file's, else the account's own."""
    return str(getattr(acting, part) or own)


def look(client: DocxworldClient, wanted: Wanted, own_role: str, vault: Callable[[], Vault], *, prune: bool) -> Actual:
    """Return the present state of all that a file mentions, and of what it refers to."""
    role = partial(acting_role, wanted.acting, own=own_role)
    me = (
        client.users.settings(role=role("settings"))
        if wanted.settings or (prune and wanted.users is not None)
        else None
    )
    uses_targets = _uses_targets(wanted)
    return Actual(
        companies=tuple(client.companies.all(role=role("companies"))) if _uses_companies(wanted) else (),
        workflows=tuple(client.workflows.all(role=role("workflows"))) if wanted.workflows is not None else (),
        targets=tuple(client.targets.all(role=role("workflows"))) if uses_targets else (),
        accesses=_accesses(client, wanted, role("technical_access")),
        users=tuple(client.users.all(role=role("users"))) if wanted.users is not None else (),
        own_id=me.id if me else None,
        notification=_notification(me),
        held=_held(wanted, vault),
    )


def _accesses(client: DocxworldClient, wanted: Wanted, role: str) -> tuple[TechnicalAccess, ...]:
    return tuple(client.technical_access.all(role=role)) if wanted.technical_access is not None else ()


def _uses_companies(wanted: Wanted) -> bool:
    """Return whether the file lists companies, or names one otherwise than by its id."""
    named = [access.company for access in wanted.technical_access or ()]
    named += [user.company for user in wanted.users or () if user.company]
    return wanted.companies is not None or any(not UUID.fullmatch(name) for name in named)


def _uses_targets(wanted: Wanted) -> bool:
    scopes = [scope for user in wanted.users or () for scope in (user.roles or {}).values()]
    notified = wanted.settings.approval_success_notification if wanted.settings else None
    return any(scope.targets for scope in scopes) or bool(notified and notified.targets)


def _notification(me: UserWithSettings | None) -> NotificationSetting | None:
    uploader = me.settings.uploader if me and me.settings else None
    return uploader.approval_success_notification if uploader else None


def _held(wanted: Wanted, vault: Callable[[], Vault]) -> dict[str, str | None]:
    names = [access.secret for access in wanted.technical_access or () if access.secret]
    bodies = {name: vault().read(name) for name in names}
    return {name: held_login(body) for name, body in bodies.items() if body is not None}
