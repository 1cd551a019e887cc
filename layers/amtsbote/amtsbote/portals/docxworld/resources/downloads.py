"""Downloads (page, "Download"): what docxworld holds ready, and the drafts of a technical access."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from amtsbote.portals.docxworld.models import Download, Draft, DraftOrder, Link, Role, read
from amtsbote.portals.docxworld.resources.base import WHATEVER, Filter, Page, Paging, Resource, path, query_of


@dataclass(frozen=True)
class DownloadFilter(Filter):
    """What the list of downloads can be narrowed to; `downloaded` means acknowledged."""

    targets: Sequence[str] = ()
    customer_contract: str | None = None
    company_id: str | None = None
    downloaded: bool | None = None
    download_types: Sequence[str] = ()
    free_search: str | None = None
    reference_id: Sequence[str] = ()


class Downloads(Resource):
    """The downloads that the account may see under a role: RESULTs and REPORTs have a downloader's role each."""

    def page(
        self,
        narrowed: DownloadFilter = DownloadFilter(),
        paging: Paging = WHATEVER,
        *,
        role: str = Role.CUSTOMER_DOWNLOADER_RESULTS,
    ) -> Page[Download]:
        """Return one page of downloads."""
        return self._page(path("downloads"), role, query_of(narrowed, paging), partial(read, Download))

    def records(
        self,
        narrowed: DownloadFilter = DownloadFilter(),
        *,
        sort: Sequence[str] = ("created,ASC",),
        role: str = Role.CUSTOMER_DOWNLOADER_RESULTS,
    ) -> Iterator[object]:
        """Yield all downloads, page by page, as they were answered, whatever that is."""
        return self._all(path("downloads"), role, narrowed, sort, lambda answered: answered)

    def get(self, download_id: str, *, role: str = Role.CUSTOMER_DOWNLOADER_RESULTS) -> Download:
        """Return one download; Unavailable where it is gone."""
        return self._ask(Download, "GET", path("downloads", download_id), role)

    def generate_link(self, download_id: str, *, role: str = Role.CUSTOMER_DOWNLOADER_RESULTS) -> Link:
        """Return a presigned address of the file: a secret, for which no credentials are sent."""
        return self._ask(Link, "GET", path("downloads", download_id, "generate-link"), role)

    def acknowledge(
        self,
        download_id: str,
        *,
        client_id: str,
        reference_id: str,
        role: str = Role.CUSTOMER_DOWNLOADER_RESULTS,
    ) -> Download:
        """Tell that the file is safe; it leaves the list. Unavailable where another client has done so before."""
        order = {"clientId": client_id, "referenceId": reference_id}
        return self._ask(Download, "POST", path("downloads", download_id, "acknowledge"), role, json_body=order)

    def create_draft(self, order: DraftOrder) -> Draft:
        """Create a draft whose file is then sent to its presigned address; for a technical access, without a role."""
        return self._ask(Draft, "POST", path("downloads") + "/", None, json_body=order.body())
