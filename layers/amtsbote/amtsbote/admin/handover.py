"""Handing a one-time client secret over: to a file, to Secrets Manager, or onto the screen, and nowhere else."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from amtsbote.admin.account import Vault
from amtsbote.errors import AmtsboteError, Reject
from amtsbote.portals.docxworld.administration import OAuth

ONLY_OWNER = 0o600
CLIENT_CREDENTIALS = "client-credentials"
OTHER_LOGIN = "another kind of login"
"""What `held_login` tells of a secret that keeps no login of a technical access, but something worth keeping."""


def login_of(oauth: OAuth) -> dict[str, Any]:
    """Return the `auth` of a connection's secret that logs in with this client."""
    return {
        "kind": CLIENT_CREDENTIALS,
        "tokenUrl": oauth.token_url,
        "clientId": oauth.client_id,
        "clientSecret": oauth.client_secret,
        "scopes": list(oauth.supported_scopes or ()),
    }


def held_login(body: str) -> str | None:
    """Return the client id of the login in a secret, None where there is no login, OTHER_LOGIN for another one."""
    try:
        content = json.loads(body)
    except ValueError:
        return OTHER_LOGIN
    auth: Any = content.get("auth") if isinstance(content, dict) else OTHER_LOGIN
    if auth is None:
        return None
    known = isinstance(auth, dict) and auth.get("kind") == CLIENT_CREDENTIALS
    return str(auth.get("clientId")) if known else OTHER_LOGIN


class Handover:
    """Where one-time secrets go. `base_url` is the portal's, so that what is kept can serve as a connection."""

    def __init__(
        self, base_url: str, show: Callable[[dict[str, Any]], None], vault: Callable[[], Vault], folder: Path | None
    ) -> None:
        self._base_url = base_url
        self._show = show
        self._vault = vault
        self._folder = folder

    def to_screen(self, oauth: OAuth) -> str:
        """Show a login: this once."""
        self._show(login_of(oauth))
        return "shown above"

    def to_file(self, path: Path) -> Callable[[OAuth], str]:
        """Look at the place of a new file, now, so that no secret is made that cannot be kept.

        Only its owner can read the file; one that is there is never overwritten.
        """
        if path.exists():
            raise Reject("FILE_EXISTS", f"{path} exists; name a new file")
        if not os.access(path.parent, os.W_OK):
            raise Reject("FILE_NOT_WRITABLE", f"{path.parent} is no folder that can be written to")

        def keep(oauth: OAuth) -> str:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, ONLY_OWNER)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"baseUrl": self._base_url, "auth": login_of(oauth)}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            return f"kept in {path}"

        return keep

    def to_secret(self, name: str) -> Callable[[OAuth], str]:
        """Look at a secret, now; what it keeps beside the login stays as it is."""
        vault = self._vault()
        body = vault.read(name)
        content = json.loads(body) if body and held_login(body) != OTHER_LOGIN else {}
        if body and held_login(body) == OTHER_LOGIN:
            raise Reject("SECRET_IN_USE", f"the secret {name} keeps something else; name another one")

        def keep(oauth: OAuth) -> str:
            vault.write(name, json.dumps({**content, "baseUrl": self._base_url, "auth": login_of(oauth)}))
            return f"kept in the secret {name}"

        return keep

    def place(self, secret: str | None, name: str) -> Callable[[OAuth], str]:
        """Return where the login of a technical access goes: its secret, the folder, the screen."""
        if secret is not None:
            return self.to_secret(secret)
        if self._folder is not None:
            return self.to_file(self._folder / f"{_safe(name)}.json")
        return self.to_screen

    def hand(self, oauth: OAuth, keep: Callable[[OAuth], str]) -> str:
        """Hand a login over; one that cannot be kept is shown, because it exists nowhere else."""
        try:
            return keep(oauth)
        except (AmtsboteError, BotoCoreError, ClientError, OSError):
            self.to_screen(oauth)
            raise


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).lstrip(".") or "login"
