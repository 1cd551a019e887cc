"""Form data dropped for DUBA becomes a magic link (guide, "Form Pre-fill with Memento Endpoint").

The portal cannot tell a repeat, and need not: a link whose answer was lost opens the same form, is known to nobody, and
ends within the hour. What a job can be used for only once is the form itself, so that is looked up before.
"""

import json
from contextlib import closing
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from amtsbote.errors import Misconfigured, Reject
from amtsbote.portals.duba.client import DubaClient
from amtsbote.portals.duba.models import FormData, FormName, Memento
from amtsbote.portals.portal import Tools
from amtsbote.portals.protocols import Delivery, Drop, Journal, Outcome, Record, Step
from amtsbote.times import written

MAGIC_LINK_LIFETIME = timedelta(hours=1)  # the portal's default; it does not say so if an instance has another
FORM_DATA_LIMIT_BYTES = 1024 * 1024
JOB_ID_LIMIT_BYTES = 500
ALWAYS_USED_JOB = "00000000-0000-0000-0000-000000000001"  # the vendor's, to try out the error page
LINK_MADE = "MAGIC_LINK_MADE"
NAMED_AT_MOST = 20


class DubaDestination:
    """The forms that one API user prepares for people to check and send."""

    def __init__(self, client: DubaClient, tools: Tools) -> None:
        self._client = client
        self._tools = tools

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:  # noqa: ARG002  (nothing needs to be resumed)
        """Turn a drop into a magic link; its path is (form name, file name).

        The result is {"magicLink": the address, "expiresAt": "…Z", "form": the form name}, a secret until then. Reject
        names the mistake: an unknown form, a wrong field (never its value), a job whose form was sent already.
        """
        form = _form_of(drop)
        form_data = _form_data(drop)
        job_id: str = form_data["jobId"]
        self._refuse_used(job_id)
        expires_at = self._tools.clock() + MAGIC_LINK_LIFETIME  # before the call, so that it is never too late
        link = self._link(self._client.create_memento(form_data))
        result = {"magicLink": link, "expiresAt": written(expires_at), "form": str(form)}
        steps = (Step(self._tools.clock(), LINK_MADE),)
        return Delivery(job_id, Outcome.DELIVERED, steps, result, secret_until=expires_at, proven_by=job_id)

    def track(self, portal_id: str) -> Delivery:
        """Return that the link was made: the source lists what becomes of the form."""
        return Delivery(portal_id, Outcome.DELIVERED)

    def _refuse_used(self, job_id: str) -> None:
        """Refuse a job with a message: its form was sent, and a link would lead to an error page."""
        if job_id == ALWAYS_USED_JOB or self._has_messages(job_id):
            said = "jobId was used before: its form has been sent, and a magic link would lead to an error page"
            raise Reject("JOB_ID_USED", f"{said}; drop the form data again under a new jobId")

    def _has_messages(self, job_id: str) -> bool:
        try:
            listing = self._client.list_messages(job_ids=[job_id])
        except Misconfigured as refusal:
            if refusal.code != "FILTER_REFUSED":
                raise
            said = "the portal refused to look the jobId up; use another one, of plain characters"
            raise Reject("JOB_ID_REFUSED", said, portal_words=refusal.portal_words) from refusal
        return bool(listing.messages or listing.unreadable)

    def _link(self, memento: Memento) -> str:
        if not memento.magic_link:
            mend = "have the portal's administrator enable magic links for this user, then drop it again"
            raise Reject("NO_MAGIC_LINK", f"the portal took the form data and gave no magic link; {mend}")
        try:
            return self._client.absolute(memento.magic_link)
        except Reject:
            said = "the portal answered a magic link that is no path below the connection's baseUrl"
            raise Reject("MAGIC_LINK_FOREIGN", f"{said}; it is not passed on, ask its administrator") from None


def _form_of(drop: Drop) -> FormName:
    try:
        return FormName(drop.path[0])
    except ValueError:
        known = ", ".join(FormName)
        said = f"the key's third part is no form of the portal; it must be one of {known}"
        raise Reject("FORM_UNKNOWN", said) from None


def _form_data(drop: Drop) -> Record:
    """Return the form data as it was dropped, with fields that only the portal knows; Reject when it is wrong."""
    said = _parsed(drop)
    try:
        text = json.dumps(said, ensure_ascii=False).encode()
        known = FormData.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except (UnicodeEncodeError, RecursionError):
        said = "the form data holds half a character, which is no Unicode, or is nested too deeply"
        raise Reject("FORM_DATA_INVALID", said) from None
    except ValidationError as error:
        raise Reject("FORM_DATA_INVALID", f"the form data is wrong: {_wrong_fields(error)}") from None
    if not known.job_id.strip() or len(known.job_id.encode()) > JOB_ID_LIMIT_BYTES:
        said = f"jobId must not be blank and have at most {JOB_ID_LIMIT_BYTES} bytes"
        raise Reject("FORM_DATA_INVALID", f"the form data is wrong: {said}")
    record: Record = said
    return record


def _wrong_fields(error: ValidationError) -> str:
    """Return which fields are wrong and what they must be, without their values."""
    wrong = error.errors(include_input=False, include_url=False, include_context=False)
    places = [".".join(map(str, each["loc"])) or "the whole" for each in wrong[:NAMED_AT_MOST]]
    said = [each["msg"].removeprefix("Value error, ") for each in wrong]
    return "; ".join(f"{place}: {message}" for place, message in zip(places, said, strict=False))


def _parsed(drop: Drop) -> Any:
    if drop.size > FORM_DATA_LIMIT_BYTES:
        said = f"the form data has {drop.size} bytes, at most {FORM_DATA_LIMIT_BYTES} are taken"
        raise Reject("FORM_DATA_TOO_LARGE", said)
    if not drop.size:
        raise Reject("FORM_DATA_INVALID", "the file is empty; it must be a JSON object")
    with closing(drop.read(0, drop.size)) as content:
        text = content.read()
    try:
        return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        said = "the file is no JSON object in UTF-8 in which each name comes once"
        raise Reject("FORM_DATA_INVALID", said) from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice: which of two persons is meant is not for us to guess."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
