"""All that is sent from one account: the path of a drop says whether it is a file, a cancellation, a decision, a draft.

The grammar of the keys has let nothing else in (`amtsbote.keys`).
"""

from functools import cached_property
from typing import TYPE_CHECKING

from amtsbote.portals.docxworld.connection import ClientCredentials, UserPassword
from amtsbote.portals.docxworld.uploads import DocxworldDestination
from amtsbote.portals.protocols import Delivery, Drop, Journal

if TYPE_CHECKING:
    from amtsbote.portals.docxworld.approvals import Decisions
    from amtsbote.portals.docxworld.cancellations import Cancellations
    from amtsbote.portals.docxworld.drafts import Drafts

APPROVALS, DRAFTS = "approvals", "drafts"
CANCELLATION = ".cancel.json"
SEPARATOR = "|"  # in what is tracked: an upload's id has none


def is_upload(drop: Drop) -> bool:
    """Return whether a drop is a file for a target."""
    return len(drop.path) == 2 and not drop.file_name.endswith(CANCELLATION)


class Outgoing:
    """A Destination that leaves each drop, and each question how far it is, to the one whom it concerns."""

    def __init__(self, uploads: DocxworldDestination, auth: UserPassword | ClientCredentials) -> None:
        self._uploads = uploads
        self._auth = auth

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:
        """Send a drop, or do what it says. Reject names the mistake and the mend."""
        match drop.path:
            case (first, _, _) if first == DRAFTS:
                return self._drafts.deliver(drop, journal)
            case (first, _, _) if first == APPROVALS:
                return self._decisions.deliver(drop, journal)
            case (_, name) if name.endswith(CANCELLATION):
                return self._cancellations.deliver(drop, journal)
        return self._uploads.deliver(drop, journal)

    def track(self, portal_id: str) -> Delivery:
        """Return how far an upload is, or what else is followed."""
        kind, separator, _ = portal_id.partition(SEPARATOR)
        if separator and kind == DRAFTS:
            return self._drafts.track(portal_id)
        if separator and kind == APPROVALS:
            return self._decisions.track(portal_id)
        return self._uploads.track(portal_id)

    @cached_property
    def _drafts(self) -> "Drafts":
        from amtsbote.portals.docxworld.drafts import Drafts

        return Drafts(self._uploads, self._auth)

    @cached_property
    def _decisions(self) -> "Decisions":
        from amtsbote.portals.docxworld.approvals import Decisions

        return Decisions(self._uploads.client, self._uploads.tools)

    @cached_property
    def _cancellations(self) -> "Cancellations":
        from amtsbote.portals.docxworld.cancellations import Cancellations

        return Cancellations(self._uploads.client, self._uploads.tools, self._uploads.uploader.role)
