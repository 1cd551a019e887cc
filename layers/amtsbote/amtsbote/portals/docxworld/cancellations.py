"""Cancelling the approval that an upload waits for (page, "Cancelling upload").

`<file name>.cancel.json` speaks of the newest version of `<file name>` that the portal has. Which upload that is, the
drops' own book says and not the portal's list: the list knows neither our keys nor our versions. It is written down
before the portal is asked, so that a repeat never cancels the upload of a version that was dropped meanwhile.
"""

from amtsbote.errors import OutOfTime, Reject, Retry
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.instructions import message, read_instructions
from amtsbote.portals.docxworld.models import ApprovalState
from amtsbote.portals.docxworld.outgoing import CANCELLATION
from amtsbote.portals.portal import Tools
from amtsbote.portals.protocols import Delivery, Drop, Journal, Outcome, Step

NOT_YET = frozenset({None, ApprovalState.REQUIRED})

PROCESS = "processId"  # journal: the upload whose approval is to be cancelled
ASKED = "asked"  # journal: the portal was asked to cancel it


class Cancellations:
    """What cancels the approvals of one account's uploads."""

    def __init__(self, client: DocxworldClient, tools: Tools, role: str) -> None:
        self._uploads = client.uploads
        self._tools = tools
        self._role = role

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:
        """Cancel the approval; Reject where none waits. Retry while the file, or its approval, is not that far yet."""
        said = read_instructions(drop, "CANCELLATION_INVALID", {"message": message})
        process_id = self._process(drop, journal)
        if not self._was_cancelled(process_id, journal):
            self._cancel(process_id, said.get("message"), journal)
        step = Step(self._tools.clock(), ApprovalState.CANCELLED)
        result = {"processId": process_id, "approvalState": ApprovalState.CANCELLED}
        return Delivery(process_id, Outcome.DELIVERED, (step,), result)

    def _process(self, drop: Drop, journal: Journal) -> str:
        if PROCESS not in journal.state:
            journal.state[PROCESS] = self._find(drop)
            journal.save()
        return str(journal.state[PROCESS])

    def _find(self, drop: Drop) -> str:
        """Return the upload of the newest version of the file that the portal has."""
        key = drop.key.removesuffix(CANCELLATION)
        newest = self._tools.drops.newest(drop.bucket, key)
        unseen = newest is None and drop.beside(drop.file_name.removesuffix(CANCELLATION)) is not None
        if unseen or (newest and newest.pending):
            raise Retry("DELIVERY_UNDER_WAY", "the file whose approval is to be cancelled is still on its way")
        sent = self._tools.drops.newest_sent(drop.bucket, key)
        process_id = (newest and newest.portal_id) or (sent and sent.portal_id)
        if not process_id:
            mend = "check the file's name, and its own receipt"
            raise Reject("NOTHING_TO_CANCEL", f"docxworld has no upload of the file that the key names; {mend}")
        return process_id

    def _was_cancelled(self, process_id: str, journal: Journal) -> bool:
        """Return whether an earlier try has done it; Reject where the upload waits for no approval."""
        state = self._state(process_id)
        if state == ApprovalState.WAITING_APPROVAL:
            return False
        if state == ApprovalState.CANCELLED and journal.state.get(ASKED):
            return True
        if state in NOT_YET:
            raise Retry("APPROVAL_NOT_WAITING_YET", "the upload needs an approval and does not wait for it yet")
        raise _nothing_waits(state)

    def _cancel(self, process_id: str, words: str | None, journal: Journal) -> None:
        """Ask the portal; an answer that was lost is looked for at the upload."""
        asked_before = bool(journal.state.get(ASKED))
        self._tools.transport.deadline.check()
        journal.state[ASKED] = True
        journal.save()
        try:
            self._uploads.cancel(process_id, words, role=self._role)
        except OutOfTime:
            raise
        except Retry:
            if self._state(process_id) != ApprovalState.CANCELLED:
                raise
        except Reject as refusal:
            if refusal.code != "UPLOAD_NOT_CANCELLABLE":
                raise
            state = self._state(process_id)
            if not (asked_before and state == ApprovalState.CANCELLED):
                raise _nothing_waits(state, refusal.portal_words) from refusal

    def _state(self, process_id: str) -> str | None:
        return self._uploads.get(process_id, role=self._role).approval_state


def _nothing_waits(state: str | None, words: str | None = None) -> Reject:
    said = f"the upload waits for no approval that could be cancelled; it is {str(state)[:40]}"
    return Reject("NOTHING_TO_CANCEL", said, portal_words=words)
