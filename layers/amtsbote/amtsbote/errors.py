"""The one error root. Its subclasses answer "what now"; nothing else in the package decides about retries.

`code` and `message` are ours and safe to log. `portal_words` are the portal's own and may name persons:
they go into receipts and the ledger, never into a log, a metric or an event.
"""


class AmtsboteError(Exception):
    """Root of all errors that the package raises on purpose."""

    def __init__(self, code: str, message: str, *, portal_words: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.portal_words = portal_words


class Retry(AmtsboteError):
    """It may succeed later: an outage, a throttle, a lock. `after_seconds` is what the portal asked for, if it did."""

    def __init__(
        self, code: str, message: str, *, after_seconds: float | None = None, portal_words: str | None = None
    ) -> None:
        super().__init__(code, message, portal_words=portal_words)
        self.after_seconds = after_seconds


class OutOfTime(Retry):
    """The invocation's deadline is near: stop at a safe boundary, the work goes on in another invocation."""

    def __init__(self) -> None:
        super().__init__("OUT_OF_TIME", "the invocation's time is used up; the work goes on in the next one")


class LeaseLost(Retry):
    """Another worker has taken the work over: this one must not write anything more."""

    def __init__(self) -> None:
        super().__init__("LEASE_LOST", "another worker has taken this work over")


class Reject(AmtsboteError):
    """This will never work: the input is wrong or the portal refused it. The message names the mistake and the mend."""


class Quarantine(AmtsboteError):
    """The portal's bytes are unreadable: keep them verbatim, do not acknowledge, a person decides.

    `may_pass` is true where the bytes look like a passing fault (a maintenance page, a cut body): such an item is
    fetched again, and quarantined only at the last try.
    """

    def __init__(self, code: str, message: str, *, may_pass: bool = False) -> None:
        super().__init__(code, message)
        self.may_pass = may_pass


class Unavailable(AmtsboteError):
    """The item is gone at the portal, or another client holds it."""


class Misconfigured(AmtsboteError):
    """The connection is wrong, not the item: login refused, secret invalid, host not allowed."""
