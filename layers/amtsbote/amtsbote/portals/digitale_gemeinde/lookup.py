"""Documents looked at, and the portal's ambiguous answers to that settled.

For a document that it does not have, the portal answers 404 or 500; and 500 when it is broken. So after either answer
it is asked what must work (`count`), and then whether its list still has the document. Only one that the working portal
no longer lists is gone; for everything else it is asked again later.
"""

from amtsbote.errors import Retry, Unavailable
from amtsbote.portals.digitale_gemeinde.client import DigitaleGemeindeClient
from amtsbote.portals.digitale_gemeinde.errors import InternalError
from amtsbote.portals.digitale_gemeinde.models import FormDetails, FoundForm


class Lookup:
    """Looks at the documents of one tenant; `new_status` is where most of those asked about are listed."""

    def __init__(self, client: DigitaleGemeindeClient, new_status: str) -> None:
        self._client = client
        self._new_status = new_status

    def details(self, form_id: str, document_id: str) -> FormDetails:
        """Return a document. Unavailable when it is gone, Retry when it may be there and cannot be seen."""
        try:
            return self._client.details(form_id, document_id)
        except (Unavailable, InternalError) as error:
            self._client.count()  # raises its own error in an outage
            if self._listed(form_id, document_id) is None:
                raise Unavailable("NOT_FOUND", "the portal has the document no more") from error
            said = f"the portal lists the document and does not show it: {error.message}"
            mend = "if this stays, check routes.details"
            raise Retry("DETAILS_UNAVAILABLE", f"{said}; {mend}", portal_words=error.portal_words) from error

    def status(self, form_id: str, document_id: str, details: FormDetails) -> str | None:
        """Return the document's status from its details, or from the list where they do not say it."""
        if details.status is not None:
            return details.status
        row = self._listed(form_id, document_id)
        return row.status if row else None

    def _listed(self, form_id: str, document_id: str) -> FoundForm | None:
        """Return the document's row: among the new ones, else among all of the form."""
        for status in (self._new_status, None):
            for row in self._client.search_all(form_id=form_id, status=status):
                if row.document_id == document_id:
                    return row
        return None
