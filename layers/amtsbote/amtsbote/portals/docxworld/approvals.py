"""Decisions on approval tasks (page, "Getting approval-tasks", "Approve approval-tasks").

`approvals/<task id>/decision.json` is the decision; the newest `file.pdf` beside it goes with it. A task can be decided
once, so it is looked at before, and after an answer that was lost. The page offers no look at a single task: the first
look goes through the list of those that wait, later ones ask for the task's upload only.

`file.pdf` by itself is delivered when a decision has taken it along, and is on its way until then, but not for ever:
it fails with a decision that cannot be taken any more, a day after any other that failed, and thirty days after it was
dropped where none came. A file that has failed goes with no later decision.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from amtsbote.errors import Misconfigured, OutOfTime, Reject, Retry
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.instructions import message, one_of, read_instructions
from amtsbote.portals.docxworld.models import ApprovalState, ApprovalTask, Decision, Role
from amtsbote.portals.docxworld.outgoing import APPROVALS, SEPARATOR
from amtsbote.portals.docxworld.resources.approvals import ApprovalFilter, Attachment
from amtsbote.portals.docxworld.roles import ROLE_REFUSALS
from amtsbote.portals.portal import Tools
from amtsbote.portals.protocols import Delivery, Drop, Journal, KnownDrop, Outcome, Step

DECISION_FILE, CHANGED_FILE = "decision.json", "file.pdf"
FILE_LIMIT_BYTES = 50 * 1024 * 1024  # it is held in memory while it is sent, and a function sends several drops

ANOTHER_DECISION = timedelta(days=1)  # so long a file waits for the decision that is dropped after one that failed
DECISION_WAIT = timedelta(days=30)  # so long it waits where there is none
UNDECIDABLE = frozenset({"APPROVAL_TASK_NOT_DECIDABLE", "APPROVAL_TASK_NOT_FOUND", "APPROVER_ROLE_MISSING"})
SINCE = "@"  # in what is tracked, between the file's version and when it was dropped

CHECKS = {
    "approvalState": one_of(("APPROVED", "REJECTED"), needed=True),
    "message": message,
    "emailOptions": one_of(("ONLY_UPLOADER", "CC_APPROVER"), needed=False),
}
UNDECIDED = frozenset({None, ApprovalState.REQUIRED, ApprovalState.WAITING_APPROVAL})

ASKED = "asked"  # journal: the decision was sent, and may have been taken
PROCESS = "processId"  # journal: the upload that the task belongs to
FILE_VERSION = "fileVersionId"  # journal and result: the version of file.pdf that goes with the decision


class Decisions:
    """What decides the approval tasks that one account may decide."""

    def __init__(self, client: DocxworldClient, tools: Tools) -> None:
        self._approvals = client.approvals
        self._tools = tools

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:
        """Send a decision, or note a file that waits for one; the path is (approvals, task id, file name)."""
        task_id = drop.path[1]
        if drop.file_name == CHANGED_FILE:
            _check_file(drop)
            found = self.track(_tracked_as(drop))
            waiting = (Step(self._tools.clock(), "WAITING_FOR_DECISION"),)
            return found if found.outcome is not Outcome.IN_PROGRESS else replace(found, steps=waiting)
        return self._decide(task_id, drop, journal)

    # --- the changed file --------------------------------------------------------------------------------------------

    def track(self, tracked_as: str) -> Delivery:
        """Return whether a decision has taken a file.pdf along, or none will; no portal is asked."""
        _, task_id, version, bucket, key = tracked_as.split(SEPARATOR, 4)
        version_id, _, since = version.partition(SINCE)
        decision = f"{key.rpartition('/')[0]}/{DECISION_FILE}"
        taken = self._tools.drops.newest_sent(bucket, decision)
        if taken is None or taken.outcome is not Outcome.DELIVERED:
            end = self._end_of_wait(self._tools.drops.newest(bucket, decision), since)
            return replace(end, portal_id=task_id, tracked_as=tracked_as)
        if taken.result.get(FILE_VERSION) == version_id:
            return Delivery(task_id, Outcome.DELIVERED, result={"taskId": task_id})
        said = "the task was decided without this version of the file; a task can be decided once only"
        return Delivery(task_id, Outcome.FAILED, error_code="FILE_NOT_USED", error_message=said)

    def _end_of_wait(self, decision: KnownDrop | None, since: str) -> Delivery:
        """Return that a file waits on, or why it does not; one that was dropped in an older form waits for ever."""
        now = self._tools.clock()
        if decision is None:
            late = bool(since) and now >= datetime.fromisoformat(since) + DECISION_WAIT
            said = f"no decision.json came beside it within {DECISION_WAIT.days} days; drop both, this file first"
            return _failed("DECISION_MISSING", said) if late else _WAITING
        failed = decision.outcome is Outcome.FAILED and not decision.pending
        late = decision.ended_at is not None and now >= decision.ended_at + ANOTHER_DECISION
        if failed and (late or decision.error_code in UNDECIDABLE):
            said = f"the decision beside it failed ({decision.error_code}), and it was not used"
            return _failed("DECISION_FAILED", f"{said}; to decide after all, drop both again, this file first")
        return _WAITING

    # --- the decision ------------------------------------------------------------------------------------------------

    def _decide(self, task_id: str, drop: Drop, journal: Journal) -> Delivery:
        said = read_instructions(drop, "DECISION_INVALID", CHECKS)
        decision = Decision.model_validate(said)
        with _for_approvers():
            task = self._task(task_id, journal)
            if not _is_decided(task, decision, journal):
                file = self._file(drop, journal)
                journal.state[PROCESS] = task.process_id
                task = self._send(task, decision, file, journal)
        return self._delivered(task, decision, journal)

    def _delivered(self, task: ApprovalTask, decision: Decision, journal: Journal) -> Delivery:
        result = {
            "taskId": task.id,
            "processId": task.process_id,
            "approvalState": decision.approval_state,
            FILE_VERSION: journal.state.get(FILE_VERSION),
        }
        step = Step(self._tools.clock(), decision.approval_state)
        known = {name: value for name, value in result.items() if value}
        return Delivery(task.id, Outcome.DELIVERED, (step,), known)

    def _task(self, task_id: str, journal: Journal) -> ApprovalTask:
        """Return the task as it is now; Reject where the account sees none of that id."""
        found = next((task for task in self._listed(journal) if task.id.casefold() == task_id.casefold()), None)
        if found is None:
            mend = "check the id in the key, and that the task's target is assigned to the account as an approver"
            raise Reject("APPROVAL_TASK_NOT_FOUND", f"docxworld shows the account no such task; {mend}")
        return found

    def _listed(self, journal: Journal) -> Iterator[ApprovalTask]:
        """Yield the tasks to look through: those of the upload where it is known, else first those that wait."""
        process_id = journal.state.get(PROCESS)
        if process_id:
            yield from self._approvals.all(ApprovalFilter(process_ids=(process_id,)))
            return
        yield from self._approvals.all(ApprovalFilter(approval_states=(ApprovalState.WAITING_APPROVAL,)))
        yield from self._approvals.all()

    def _file(self, drop: Drop, journal: Journal) -> Attachment | None:
        """Return the changed file that goes with the decision; which version that is stays as at the first try."""
        file = drop.beside(CHANGED_FILE)
        version_id = file.version_id if file else None
        if journal.state.setdefault(FILE_VERSION, version_id) != version_id:
            said = "file.pdf was changed while the decision was being sent; nothing more was sent"
            raise Reject("FILE_CHANGED", f"{said}; drop decision.json again if the task still waits")
        if file is None:
            return None
        _check_file(file)
        known = self._tools.drops.newest(file.bucket, file.key)
        if known and known.version_id == file.version_id and known.outcome is Outcome.FAILED:
            said = f"{CHANGED_FILE} beside it has failed ({known.error_code}), and does not go along"
            raise Reject("FILE_FAILED", f"{said}; drop it again, and then decision.json")
        if file.modified and drop.modified and file.modified > drop.modified:
            said = "file.pdf was dropped after decision.json, and is not known to belong to it"
            raise Reject("FILE_CAME_LATER", f"{said}; drop decision.json again")
        with closing(file.read(0, file.size)) as content:
            return Attachment(CHANGED_FILE, content.read())

    def _send(self, task: ApprovalTask, decision: Decision, file: Attachment | None, journal: Journal) -> ApprovalTask:
        """Decide the task; an answer that was lost is looked for at the task."""
        asked_before = bool(journal.state.get(ASKED))
        self._tools.transport.deadline.check()
        journal.state[ASKED] = True
        journal.save()
        try:
            self._approvals.decide(task.id, decision, file)
        except OutOfTime:
            raise
        except Retry:
            task = self._task(task.id, journal)
            if not _is_decided(task, decision, journal):
                raise
        except Reject as refusal:
            if refusal.code != "APPROVAL_TASK_NOT_DECIDABLE":
                raise
            task = self._task(task.id, journal)
            if not (asked_before and _is_decided(task, decision, journal)):
                raise _not_decidable(task, refusal.portal_words) from refusal
        return task


def _check_file(file: Drop) -> None:
    if file.size == 0:
        raise Reject("FILE_EMPTY", f"{CHANGED_FILE} has no bytes; drop it again with its content")
    if file.size > FILE_LIMIT_BYTES:
        said = f"{CHANGED_FILE} has {file.size} bytes; with a decision go at most {FILE_LIMIT_BYTES}"
        raise Reject("FILE_TOO_LARGE", f"{said}; make it smaller")


_WAITING = Delivery("", Outcome.IN_PROGRESS)


def _failed(code: str, said: str) -> Delivery:
    return Delivery("", Outcome.FAILED, error_code=code, error_message=said)


def _tracked_as(file: Drop) -> str:
    since = file.modified.isoformat() if file.modified else ""
    return SEPARATOR.join((APPROVALS, file.path[1], f"{file.version_id}{SINCE}{since}", file.bucket, file.key))


def _is_decided(task: ApprovalTask, decision: Decision, journal: Journal) -> bool:
    """Return whether an earlier try has decided the task; Reject where somebody else has, Retry before its time."""
    if task.approval_state == ApprovalState.WAITING_APPROVAL:
        return False
    if task.approval_state in UNDECIDED:
        raise Retry("APPROVAL_NOT_WAITING_YET", "the task does not wait for a decision yet")
    others = decision.message and task.message and task.message != decision.message
    if journal.state.get(ASKED) and task.approval_state == decision.approval_state and not others:
        return True
    raise _not_decidable(task)


def _not_decidable(task: ApprovalTask, words: str | None = None) -> Reject:
    said = f"the task waits for no decision; it is {str(task.approval_state)[:40]}"
    return Reject("APPROVAL_TASK_NOT_DECIDABLE", said, portal_words=words)


@contextmanager
def _for_approvers() -> Iterator[None]:
    """Reject the drop where the account is no approver: its uploads are none the worse for it."""
    try:
        yield
    except Misconfigured as error:
        if error.code not in ROLE_REFUSALS:
            raise
        said = f"the account may not decide approvals; assign {Role.CUSTOMER_APPROVER} to it at docxworld"
        raise Reject("APPROVER_ROLE_MISSING", said, portal_words=error.portal_words) from error
