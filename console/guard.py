"""Who is let in: this machine's own browser, with the secret of this start, from this console's own pages.

Another program on 127.0.0.1 can send requests, and another site can make the browser send some. So each request must
name our host (a foreign name that resolves to 127.0.0.1 does not), carry our cookie, and, where it changes something,
come from our own pages and carry a value that only they know.
"""

from dataclasses import dataclass, field
from hmac import compare_digest
from secrets import token_urlsafe

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ENTRANCE = "/enter"
FORM_FIELD = "csrf"
FORM_BYTES_AT_MOST = 64 * 1024
OWN, TYPED = "same-origin", "none"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser calls the origin of our own forms `null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""What every answer carries: nothing is loaded from elsewhere, nothing is kept, nobody frames it."""

WAY_IN = "Open the address that the console printed when it started: it holds the key of this start.\n"


@dataclass(frozen=True)
class Keys:
    """The three secrets of one start: of the printed address, of the cookie, and of every form."""

    address: str = field(default_factory=token_urlsafe, repr=False)
    cookie: str = field(default_factory=token_urlsafe, repr=False)
    form: str = field(default_factory=token_urlsafe, repr=False)


@dataclass(frozen=True)
class Place:
    """Where the console answers."""

    port: int

    @property
    def url(self) -> str:
        """Return the address of the overview."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return what a request may say it is for."""
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    @property
    def cookie(self) -> str:
        """Return the cookie's name: cookies know no ports, so two consoles would take each other's."""
        return f"amtsbote-console-{self.port}"


class Guard:
    """Refuses what is not for us or not from us, before anything else sees it; adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp, place: Place, keys: Keys) -> None:
        self._app = app
        self._place = place
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._refusal(Request(scope)) or self._app
        await answer(scope, receive, _hardened(send))

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("host") not in self._place.hosts:
            return PlainTextResponse("This is not the host that the console answers for.\n", 421)
        if not self._comes_from_here(request):
            return PlainTextResponse("This request does not come from the console's own pages.\n", 403)
        if request.url.path != ENTRANCE and not self._is_known(request):
            return PlainTextResponse(WAY_IN, 401)
        return None

    def _comes_from_here(self, request: Request) -> bool:
        """Return whether no other site is behind the request; only a link to a page may come from elsewhere."""
        origin, changes = request.headers.get("origin"), request.method not in ("GET", "HEAD")
        site, mode = request.headers.get("sec-fetch-site"), request.headers.get("sec-fetch-mode")
        if site not in (None, OWN, TYPED) and (changes or mode != "navigate"):
            return False
        return origin in {f"http://{host}" for host in self._place.hosts} if origin or changes else True

    def _is_known(self, request: Request) -> bool:
        return same(request.cookies.get(self._place.cookie, ""), self._keys.cookie)


def enter(request: Request, place: Place, keys: Keys) -> Response:
    """Exchange the printed address for the cookie.

    The answer is a page that goes on by itself: after a redirect from another site's link a browser would hold a
    SameSite=Strict cookie back.
    """
    if not same(request.query_params.get("key", ""), keys.address):
        return PlainTextResponse(WAY_IN, 401)
    onward = '<meta http-equiv="refresh" content="0;url=/"><link rel="icon" href="/static/icon.svg">'
    answer = HTMLResponse(
        f'<!doctype html><html lang="de"><meta charset="utf-8">{onward}<title>Amtsbote</title><a href="/">Amtsbote</a>'
    )
    answer.set_cookie(place.cookie, keys.cookie, httponly=True, samesite="strict", path="/")
    return answer


def same(said: str, secret: str) -> bool:
    """Return whether a text is the secret, in a time that tells nothing."""
    return compare_digest(said.encode("utf-8", "surrogatepass"), secret.encode())


def _hardened(send: Send) -> Send:
    async def hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return hardened
