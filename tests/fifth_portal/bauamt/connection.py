"""What a Bauamt connection's secret holds, and how a request is logged in with it."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, SecretStr

from amtsbote.portals.portal import ConnectionSecret

PLAIN_ADDRESS = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"  # no credentials, no query, no fragment


class BauamtSecret(ConnectionSecret):
    """One API key of one Bauamt."""

    base_url: Annotated[str, Field(pattern=PLAIN_ADDRESS)]
    api_key: Annotated[SecretStr, Field(min_length=1)]


class ApiKeyLogin:
    """A key in a header."""

    def __init__(self, api_key: SecretStr) -> None:
        self._api_key = api_key

    def headers(self) -> Mapping[str, str]:
        """Return the header that logs a request in."""
        return {"X-Api-Key": self._api_key.get_secret_value()}

    def renew(self) -> bool:
        """Return False: the same key is refused again."""
        return False
