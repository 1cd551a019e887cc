"""Which role may do what, and how docxworld says that an account does not have it."""

from collections.abc import Mapping

from amtsbote.portals.docxworld.models import DownloadType, Role

ROLE_REFUSALS = frozenset({"ACCESS_DENIED", "ROLE_NOT_ASSIGNED", "ROLE_NOT_EXISTS"})
"""The codes of a refusal that is about the role, or about what it was used on, and not about the login."""

DOWNLOADER_ROLES: Mapping[DownloadType, Role] = {
    DownloadType.RESULT: Role.CUSTOMER_DOWNLOADER_RESULTS,
    DownloadType.REPORT: Role.CUSTOMER_DOWNLOADER_REPORTS,
}
"""Each type of download is read in a role of its own."""
