"""What every view works with, and how views become answers: errors as sentences, forms read and checked."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qsl

from botocore.exceptions import BotoCoreError, ClientError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from amtsbote.errors import AmtsboteError
from amtsbote.operations.office import Office
from amtsbote.operations.stack import reason
from console.guard import FORM_BYTES_AT_MOST, FORM_FIELD, Keys, same
from console.pages import Pages

NOT_FOUND = frozenset({"NOT_FOUND", "NO_RECEIPT", "NO_FILE", "NO_REPORT"})
FIELDS_AT_MOST = 40
Form = Mapping[str, str]


@dataclass(frozen=True)
class Desk:
    """What a view works with. `alarms`: see `console.server.serving`."""

    office: Office
    pages: Pages
    keys: Keys
    alarms: Mapping[str, timedelta]


View = Callable[[Desk, Request], Response]
Deed = Callable[[Desk, Request, Form], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


def name_in(request: Request) -> str:
    """Return the name of the document that an address speaks of."""
    return request.query_params.get("name", "")


def looked_at(desk: Desk, view: View) -> Endpoint:
    """Return the endpoint of a page."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(_answered, desk, request, lambda: view(desk, request))

    return endpoint


def done(desk: Desk, deed: Deed) -> Endpoint:
    """Return the endpoint of something that changes things: its form must carry the value that only our pages know."""

    async def endpoint(request: Request) -> Response:
        form = await _form(request)
        if form is None or not same(form.get(FORM_FIELD, ""), desk.keys.form):
            return desk.pages.show(request, "refused.html", 403, code="FORM_OUTDATED", says=None)
        return await run_in_threadpool(_answered, desk, request, lambda: deed(desk, request, form))

    return endpoint


def _answered(desk: Desk, request: Request, answer: Callable[[], Response]) -> Response:
    """Answer, or say in a sentence why not."""
    try:
        return answer()
    except AmtsboteError as error:
        status = 404 if error.code in NOT_FOUND else 409
        return _refused(desk, request, status, error.code, error.message)
    except (ClientError, BotoCoreError) as error:
        return _refused(desk, request, 502, "AWS_REFUSED", reason(error))


def _refused(desk: Desk, request: Request, status: int, code: str, says: str) -> Response:
    """Return the page that says why not; where only a part of a page was asked for, have the browser ask for it."""
    if "hx-request" in request.headers:
        return Response(headers={"HX-Redirect": f"{request.url.path}?{request.url.query}"})
    return desk.pages.show(request, "refused.html", status, code=code, says=says)


async def _form(request: Request) -> Form | None:
    """Return the fields of a form; None where it is none, or too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_AT_MOST:
            return None
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_AT_MOST))
    except ValueError:
        return None
