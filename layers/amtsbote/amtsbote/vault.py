"""Small secrets at rest, sealed by a key in KMS that never leaves it."""

from collections.abc import Mapping
from typing import Any, Protocol

from botocore.exceptions import ClientError

from amtsbote.errors import Retry
from amtsbote.storage import code_of

CONTEXT = "amtsbote-reference"
"""The name under which a secret's context stands in KMS's encryption context, and in the account's CloudTrail."""


class KmsClient(Protocol):
    """What is needed of boto3's client."""

    def encrypt(self, *, KeyId: str, Plaintext: bytes, EncryptionContext: Mapping[str, str]) -> Any:  # noqa: N803
        """Encrypt up to 4 KiB."""
        ...

    def decrypt(self, *, KeyId: str, CiphertextBlob: bytes, EncryptionContext: Mapping[str, str]) -> Any:  # noqa: N803
        """Decrypt."""
        ...


class KmsVault:
    """The vault of the stack: one symmetric key, named by its ARN or id."""

    def __init__(self, client: KmsClient, key: str) -> None:
        self._client = client
        self._key = key

    def seal(self, secret: bytes, context: str) -> bytes:
        """Return a secret (4 KiB at most) in a form that only this key can open."""
        try:
            answer = self._client.encrypt(KeyId=self._key, Plaintext=secret, EncryptionContext={CONTEXT: context})
        except ClientError as error:
            raise _closed(error) from error
        return bytes(answer["CiphertextBlob"])

    def open(self, sealed: bytes, context: str) -> bytes:
        """Return the secret; Retry where the key does not open it, which a person may mend."""
        try:
            answer = self._client.decrypt(KeyId=self._key, CiphertextBlob=sealed, EncryptionContext={CONTEXT: context})
        except ClientError as error:
            raise _closed(error) from error
        return bytes(answer["Plaintext"])


def _closed(error: ClientError) -> Retry:
    return Retry("VAULT_CLOSED", f"the stack's key in KMS does not serve: {code_of(error)}")
