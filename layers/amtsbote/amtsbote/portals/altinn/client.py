"""Altinn's API for the owners of apps, in both dialects, usable on its own.

client = AltinnClient.of(AltinnSecret(apps=("org/app",), auth=Bearer(token=SecretStr("…"))))
for record in client.storage.instances(InstanceQuery(app_id="org/app", order="asc:lastChanged")):
    …
client.app("org/app").process(InstanceId.parse("50001/…"))
"""

import math
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from amtsbote import times
from amtsbote.deadline import Deadline
from amtsbote.errors import Misconfigured
from amtsbote.http import Transport
from amtsbote.portals.altinn.connection import AltinnSecret
from amtsbote.portals.altinn.errors import AltinnHttp, translate
from amtsbote.portals.altinn.login import AltinnLogin, login_of
from amtsbote.portals.altinn.storage import Storage
from amtsbote.tokens import TokenCache

if TYPE_CHECKING:
    from amtsbote.portals.altinn.app import App
    from amtsbote.portals.altinn.events import Events

STORAGE_PART = "/storage/"
EVENTS_BASE = "/events/api/v1"


class AltinnClient:
    """One organisation at Altinn: its `storage`, its apps by `app(…)`, its `events`.

    Every call raises the package's errors (`amtsbote.errors`): Misconfigured when the login is refused, Retry when
    Altinn cannot answer, Unavailable for what is gone or forbidden, Reject for what is refused.
    """

    def __init__(self, secret: AltinnSecret, login: AltinnLogin, transport: Transport) -> None:
        self._secret = secret
        self._login = login
        self._transport = transport

    @classmethod
    def of(
        cls,
        secret: AltinnSecret,
        *,
        transport: Transport | None = None,
        tokens: TokenCache | None = None,
        clock: Callable[[], datetime] = times.now,
    ) -> "AltinnClient":
        """Return the client of a connection's secret; without a transport it may work without end."""
        transport = transport or Transport(Deadline(math.inf))
        return cls(secret, login_of(secret.auth, transport, tokens or TokenCache(), clock), transport)

    def freshen(self) -> None:
        """Log in now, with a token that lasts for a long batch; Misconfigured where the login is refused."""
        self._login.freshen()

    @cached_property
    def storage(self) -> Storage:
        """The instances of all apps, and their files."""
        return Storage(self._http(self._secret.storage_url), self._secret.dialect, self._transport.deadline.check)

    def app(self, app_id: str) -> "App":
        """Return one app, by `<org>/<app>`; Misconfigured for one that the secret does not name."""
        from amtsbote.portals.altinn.app import App

        if app_id not in self._secret.apps:
            raise Misconfigured("APP_UNKNOWN", "the app is not among the connection's `apps`; add it there")
        org, _, app = app_id.partition("/")
        base = urlsplit(self._secret.apps_url.replace("{org}", org).replace("{app}", app))
        http = self._http(f"{base.scheme}://{base.netloc}")
        return App(http, base.path, self._secret.dialect, self._transport.deadline.check)

    @cached_property
    def events(self) -> "Events":
        """The Events API, beside Storage on the same host (v1)."""
        from amtsbote.portals.altinn.events import Events

        base, found, _ = (self._secret.storage_url + "/").partition(STORAGE_PART)
        if not found:
            raise Misconfigured("NO_EVENTS_HERE", f"storageUrl holds no {STORAGE_PART}, beside which events would be")
        return Events(self._http(base + EVENTS_BASE))

    def _http(self, base_url: str) -> AltinnHttp:
        return AltinnHttp(self._transport, base_url, self._login, translate)
