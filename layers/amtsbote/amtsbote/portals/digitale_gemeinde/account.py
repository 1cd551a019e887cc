"""HTTP of one tenant: what `PortalHttp` does, and what is particular here.

- 403 means an expired token just as 401 does (guide, step 1), so it renews the login once, too.
- A form's details hold its files inline, so their answer may be larger than any other; it has a limit of its own.
- 429 is told from 503: after it, it is certain that nothing was done.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from amtsbote.errors import AmtsboteError, Quarantine
from amtsbote.http import Answer, Body, Login, PortalHttp, Query, StreamedAnswer, Transport
from amtsbote.portals.digitale_gemeinde.errors import REFUSED_LOGIN, LoginRefused, Throttled, translate

ERROR_LIMIT_BYTES = 64 * 1024


class TenantHttp(PortalHttp):
    """The calls of one tenant: `tenantId` goes on each of them as a query parameter."""

    def __init__(self, transport: Transport, base_url: str, login: Login, tenant_id: int) -> None:
        super().__init__(transport, base_url, login, translate)
        self._tenant: Query = (("tenantId", str(tenant_id)),)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        json_body: Any = None,
        body: Body = None,
    ) -> Answer:
        """Return the 2xx answer to a request; `body` must give the same bytes again each time it is iterated."""
        sent: Any = {"query": [*self._tenant, *query], "headers": headers, "json_body": json_body, "body": body}
        try:
            return super().call(method, path, **sent)
        except LoginRefused as refusal:
            if refusal.status == 401 or not self._login.renew():  # the base class has renewed after a 401
                raise
        return super().call(method, path, **sent)

    def read_large(self, method: str, path: str, limit_bytes: int) -> bytes:
        """Return the body of a 2xx answer as it came; Quarantine when it is larger than the limit."""
        with self._opened(method, path) as answer:
            if 200 <= answer.status < 300:
                return b"".join(_at_most(answer, limit_bytes))
            said = b"".join(_first(answer.chunks, ERROR_LIMIT_BYTES))
            raise self.error_of(Answer(method, path, answer.status, answer.headers, said))

    @contextmanager
    def _opened(self, method: str, path: str) -> Iterator[StreamedAnswer]:
        with ExitStack() as stack:
            answer = stack.enter_context(self._asked(method, path))
            if answer.status in REFUSED_LOGIN and self._login.renew():
                answer = stack.enter_context(self._asked(method, path))
            yield answer

    def _asked(self, method: str, path: str) -> Any:
        return self.transport.stream(method, self.url(path), query=self._tenant, headers=self._login.headers())

    def error_of(self, answer: Answer) -> AmtsboteError:
        """Return the error of an answer that is not 2xx; one of 429 is `Throttled`."""
        error = super().error_of(answer)
        if answer.status == 429:
            return Throttled(error.code, error.message, after_seconds=getattr(error, "after_seconds", None))
        return error


def _at_most(answer: StreamedAnswer, limit_bytes: int) -> Iterator[bytes]:
    _refuse_larger(answer.size or 0, limit_bytes)
    received = 0
    for chunk in answer.chunks:
        received += len(chunk)
        _refuse_larger(received, limit_bytes)
        yield chunk


def _refuse_larger(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise Quarantine("FORM_TOO_LARGE", f"the form has more than {limit_bytes} bytes, its files included")


def _first(chunks: Iterator[bytes], limit_bytes: int) -> Iterator[bytes]:
    received = 0
    for chunk in chunks:
        yield chunk
        received += len(chunk)
        if received >= limit_bytes:
            return
