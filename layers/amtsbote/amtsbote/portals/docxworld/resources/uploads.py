"""Uploads (page, "Upload"): addresses to send files to, what became of them, cancelling their approval."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from amtsbote.portals.docxworld.models import Link, Role, Said, Upload, UploadOrder, UploadSummary, UploadUrls, read
from amtsbote.portals.docxworld.resources.base import WHATEVER, Filter, Page, Paging, Resource, path, query_of


@dataclass(frozen=True)
class UploadFilter(Filter):
    """What the list of uploads can be narrowed to; `free_search` looks at file, target and process."""

    company_id: str | None = None
    customer_number: str | None = None
    job_state: str | None = None
    job_states: Sequence[str] = ()
    approval_states: Sequence[str] = ()
    free_search: str | None = None
    expected_file_format: str | None = None
    start_period: datetime | None = None
    end_period: datetime | None = None


class Uploads(Resource):
    """The uploads that the account may see under a role."""

    def request_urls(self, order: UploadOrder, *, role: str = Role.CUSTOMER_UPLOADER) -> UploadUrls:
        """Return where to send a file; the same `reference_id` again is answered as a repeat, not as a new upload."""
        return self._ask(UploadUrls, "PUT", path("uploads"), role, json_body=order.body())

    def complete(self, process_id: str, etags: Mapping[int, str], *, role: str | None = None) -> Said:
        """Put the parts of a chunked upload together: the ETag of each by the counter of its URL.

        The page's example names no role here, so none is sent unless it is given.
        """
        order = {"processId": process_id, "etags": {str(counter): etag for counter, etag in etags.items()}}
        return self._ask(Said, "PUT", path("uploads", "complete"), role, json_body=order)

    def get(self, process_id: str, *, role: str = Role.CUSTOMER_UPLOADER) -> Upload:
        """Return one upload with its steps."""
        return self._ask(Upload, "GET", path("uploads", process_id), role)

    def cancel(
        self, process_id: str, message: str | None = None, *, role: str = Role.CUSTOMER_UPLOADER
    ) -> UploadSummary:
        """Cancel the approval that an upload waits for; Reject where it waits for none."""
        order = {} if message is None else {"message": message}
        return self._ask(UploadSummary, "PUT", path("uploads", process_id, "cancel"), role, json_body=order)

    def generate_link(self, process_id: str, *, role: str = Role.CUSTOMER_UPLOADER) -> Link:
        """Return a presigned address of the uploaded file: a secret, for which no credentials are sent."""
        return self._ask(Link, "GET", path("uploads", process_id, "generate-link"), role)

    def page(
        self,
        narrowed: UploadFilter = UploadFilter(),
        paging: Paging = WHATEVER,
        *,
        role: str = Role.CUSTOMER_UPLOADER,
    ) -> Page[UploadSummary]:
        """Return one page of uploads."""
        return self._page(path("uploads"), role, query_of(narrowed, paging), partial(read, UploadSummary))

    def all(
        self,
        narrowed: UploadFilter = UploadFilter(),
        *,
        sort: Sequence[str] = ("created,DESC",),
        role: str = Role.CUSTOMER_UPLOADER,
    ) -> Iterator[UploadSummary]:
        """Yield all uploads, page by page."""
        return self._all(path("uploads"), role, narrowed, sort, partial(read, UploadSummary))
