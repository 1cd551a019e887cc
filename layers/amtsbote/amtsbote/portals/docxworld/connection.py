"""The body of a docxworld connection's secret (contract, section 1)."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from amtsbote.portals.docxworld.models import DownloadType, Role
from amtsbote.portals.portal import BaseAddress, ConnectionSecret, SecretPart

CLIENT_ID_LIMIT = 255


class UserPassword(SecretPart):
    """A person's or a service account's login at Cognito (page, "Authentication and Authorization")."""

    kind: Literal["user-password"] = "user-password"
    cognito_url: BaseAddress
    client_id: str = Field(min_length=1)
    username: str = Field(min_length=1, repr=False)
    password: SecretStr = Field(min_length=1)


class ClientCredentials(SecretPart):
    """The login of a technical access (page, "Technical Access"). No scopes: Cognito grants all that the client has."""

    kind: Literal["client-credentials"] = "client-credentials"
    token_url: BaseAddress
    client_id: str = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=1)
    scopes: tuple[str, ...] = ()


Auth = Annotated[UserPassword | ClientCredentials, Field(discriminator="kind")]


class Uploader(SecretPart):
    """How drops are uploaded. `etag_base` is the number of the first URL in the ETags of a chunked upload.

    `encryption` other than `none`: the file is encrypted before it leaves, under a key that docxworld makes and keeps
    by itself or in KMS. `file_size` is which size docxworld is told of a file that it gets encrypted.
    """

    role: Role = Role.CUSTOMER_UPLOADER
    encryption: Literal["none", "docxworld", "kms"] = "none"
    etag_base: int = Field(default=1, ge=0, le=1)
    file_size: Literal["plaintext", "ciphertext"] = "plaintext"


class Downloader(SecretPart):
    """What is fetched, and the name under which it is acknowledged."""

    client_id: str = Field(min_length=1, max_length=CLIENT_ID_LIMIT, pattern=r"\S")
    types: tuple[DownloadType, ...] = Field(default=(DownloadType.RESULT, DownloadType.REPORT), min_length=1)


class DocxworldSecret(ConnectionSecret):
    """`amtsbote/docxworld/<connection>`. Without `uploader` or `downloader` that direction is off."""

    base_url: BaseAddress
    auth: Auth
    uploader: Uploader | None = None
    downloader: Downloader | None = None
