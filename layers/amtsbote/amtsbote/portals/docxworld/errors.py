"""What docxworld's error codes mean for us: one table, from the last part of `messageCode` to the error to raise.

The page lists the codes per service ("Known error codes", five times); a last part means the same in each of them. A
code that is not in the table is judged by the answer's status. The portal's own sentences may name persons: they go
into `portal_words` and nowhere else.
"""

from collections.abc import Mapping
from typing import Any

from amtsbote.errors import AmtsboteError, Misconfigured, Reject, Retry, Unavailable
from amtsbote.foreign_json import parsed
from amtsbote.http import Answer

CODE_PREFIX = "de.profiforms.docxworld."
UNAUTHORIZED = 401

ErrorKind = type[AmtsboteError]

_WRONG_INPUT = "docxworld refuses what was sent; its words are in the receipt"
_NO_SUCH_THING = "docxworld does not know what was named; check the id"
_TAKEN = "docxworld has one of this name or number already; choose another"
_STATE = "docxworld does not do this in the present state of the thing; look at it before trying again"

_CONNECTION: Mapping[str, str] = {
    "access_denied": "the role may not do this; give it to the account at docxworld, or name another role",
    "unauthorized": "docxworld does not accept the account; check auth",
    "role_header_missing": "docxworld missed the role; check the role in the secret",
    "role_not_assigned": "the account does not have the role; assign it at docxworld, or name another role",
    "role_not_exists": "docxworld does not know the role; correct it",
    "technical_access_required": "this needs auth of the kind client-credentials",
    "user_not_found": "docxworld does not know the account; check auth",
}

_PASSING: Mapping[str, str] = {
    "unexpected_internal": "docxworld failed inside",
    "concurrent_modification": "somebody else changed the same thing at the same moment",
    "send_message_failed": "docxworld could not notify its other services and kept things as they were",
    "s3_complete_upload": "docxworld could not put the parts together; if this stays, check uploader.etagBase",
    "chunk_missing": "docxworld misses parts of the upload; if this stays, check uploader.etagBase",
}

_GONE: Mapping[str, str] = {
    "download_not_exists": "docxworld does not know the download, or no longer",
    "download_not_available": "docxworld does not give the download out",
    "download_already_saved": "another client has acknowledged the download",
    "file_not_exists": "docxworld has no file any more",
    "no_file_attached": "docxworld has no file with it",
    "file_not_downloadable": "docxworld does not give the file out",
}

_NEVER: Mapping[str, str] = {
    "approval_task_not_decidable": _STATE,
    "approval_task_not_found": _NO_SUCH_THING,
    "bad_request": _WRONG_INPUT,
    "company_not_exists": _NO_SUCH_THING,
    "customer_already_exists": _TAKEN,
    "customer_contract_already_exists": _TAKEN,
    "customer_contract_cant_be_deleted": _STATE,
    "customer_contract_inactive": "the customer contract is not active; have it activated at docxworld",
    "customer_contract_not_exists": _NO_SUCH_THING,
    "customer_number_already_exists": _TAKEN,
    "customer_number_cant_be_deleted": _STATE,
    "customer_number_inactive": "the customer number is not active; have it activated at docxworld",
    "customer_number_not_exists": _NO_SUCH_THING,
    "deadline_email_required": "a deadline needs an address to notify",
    "encryption_not_allowed": "the target takes no encrypted files; set uploader.encryption to none",
    "encryption_parameters_missing": "docxworld misses a part of the encryption's description",
    "error": _WRONG_INPUT,
    "external_receiver_url_validation_error": "the address of the external receiver is refused; correct it",
    "group_not_exists": _NO_SUCH_THING,
    "initial_password_reset_not_allowed": _STATE,
    "instant_duplicate_in_request": "two of the moments are the same; send each once",
    "instant_state_in_the_past": "a state that has begun cannot be deleted",
    "invalid_parameter_exception": _WRONG_INPUT,
    "invalid_sort_argument": "docxworld does not sort by this; see the page for what it sorts by",
    "job_already_exists": "docxworld has an upload with this reference already",
    "job_collection_not_found": _NO_SUCH_THING,
    "job_not_found": "docxworld does not know the upload, or no longer",
    "malformed_request": _WRONG_INPUT,
    "no_such_client_key_encr_algorithm": "docxworld does not know the key's algorithm",
    "no_such_data_encr_algorithm": "docxworld does not know the data's algorithm",
    "role_not_assignable": _STATE,
    "s3_key_not_found": "docxworld does not know the upload, or no longer",
    "target_customer_contract_missing": "the target has no customer contract; have it completed at docxworld",
    "target_inactive": "the target is not active; have it activated at docxworld, or name another",
    "target_not_exists": "docxworld does not know the target; check its UUID",
    "targets_not_approvable": _STATE,
    "targets_not_assigned": "the targets are not assigned to the role; assign them at docxworld",
    "technical_access_limit_exceeded": "the company has used up its technical accesses; have the limit raised",
    "technical_access_not_exists": _NO_SUCH_THING,
    "technical_access_role_not_supported": "a technical access cannot have this role; choose another",
    "technical_access_rotation_already_in_progress": "a rotation is open; it has to be completed first",
    "technical_access_rotation_not_in_progress": "no rotation is open",
    "technical_access_status_not_supported": "a technical access cannot be switched to this status",
    "transition_state_already_exists": _TAKEN,
    "upload_not_cancellable": "the upload waits for no approval that could be cancelled",
    "user_already_exists": _TAKEN,
    "user_not_exists": _NO_SUCH_THING,
    "validation": _WRONG_INPUT,
    "workflow_already_exists": _TAKEN,
    "workflow_not_approvable": _STATE,
    "workflow_not_exists": _NO_SUCH_THING,
}

MEANINGS: Mapping[str, tuple[ErrorKind, str]] = {
    **{name: (Misconfigured, said) for name, said in _CONNECTION.items()},
    **{name: (Retry, said) for name, said in _PASSING.items()},
    **{name: (Unavailable, said) for name, said in _GONE.items()},
    **{name: (Reject, said) for name, said in _NEVER.items()},
}
"""The error to raise, and our sentence for it, by the last part of `messageCode`."""


def translate(answer: Answer) -> AmtsboteError | None:
    """Return the error of an answer's `messageCode`, None where it has none that the page lists.

    The error's code is the last part of the portal's, in capitals: `DOWNLOAD_ALREADY_SAVED`.
    """
    said = _object(answer)
    name = _last_part(said.get("messageCode"))
    if answer.status == UNAUTHORIZED and name == "access_denied":
        name = "unauthorized"  # some services say so of a token; taken for a refused role, it would fail good drops
    if name not in MEANINGS:
        return None
    kind, sentence = MEANINGS[name]
    return kind(name.upper(), f"{sentence} ({answer.method} {answer.path}, {answer.status})", portal_words=_words(said))


def _last_part(code: object) -> str:
    text = code if isinstance(code, str) else ""
    return text.rsplit(".", 1)[-1] if text.startswith(CODE_PREFIX) else ""


def _words(said: Mapping[str, Any]) -> str | None:
    """Return the portal's sentences: its message, then its debug messages."""
    more = said.get("debugMessages")
    sentences = [said.get("message"), *(more if isinstance(more, list) else [])]
    return "; ".join(sentence for sentence in sentences if isinstance(sentence, str)) or None


def _object(answer: Answer) -> dict[str, Any]:
    try:
        said = parsed(answer.body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
