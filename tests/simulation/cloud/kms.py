"""KMS in memory: symmetric keys that encrypt and decrypt under an encryption context, and are never seen themselves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tests.simulation.cloud.client import Answer, Client, Clock
from tests.simulation.cloud.errors import Exceptions, refused

ARN = "arn:aws:kms:eu-central-1:123456789012:key/"
MOST_BYTES = 4096
MISSING, UNREADABLE, OTHER_KEY = "NotFoundException", "InvalidCiphertextException", "IncorrectKeyException"
CODES = (MISSING, UNREADABLE, OTHER_KEY)
NO_CONTEXT: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Sealed:
    """What a ciphertext stands for."""

    key: str
    plaintext: bytes
    context: Mapping[str, str]


class InMemoryKms(Client):
    """A stand-in for the KMS client. A ciphertext says nothing of what it stands for; only this client knows."""

    exceptions = Exceptions(*CODES)

    def __init__(self, clock: Clock, keys: Iterable[str]) -> None:
        super().__init__(clock)
        self._keys = {name: ARN + key for key in keys for name in (key, ARN + key)}
        self._sealed: dict[bytes, Sealed] = {}

    def encrypt(self, *, KeyId: str, Plaintext: bytes, EncryptionContext: Mapping[str, str] = NO_CONTEXT) -> Answer:
        """Encrypt up to 4 KiB under a context, which has to be given again to decrypt."""
        key = self._key("Encrypt", KeyId)
        if not 1 <= len(Plaintext) <= MOST_BYTES:
            raise refused("Encrypt", "ValidationException", "plaintext must have a length from 1 to 4096")
        blob = f"sealed by kms {self._next_number():06d}".encode()
        self._sealed[blob] = Sealed(key, bytes(Plaintext), dict(EncryptionContext))
        return {"CiphertextBlob": blob, "KeyId": key}

    def decrypt(
        self, *, CiphertextBlob: bytes, EncryptionContext: Mapping[str, str] = NO_CONTEXT, KeyId: str | None = None
    ) -> Answer:
        """Decrypt, with the key that encrypted it, under the context that it was encrypted under."""
        sealed = self._sealed.get(bytes(CiphertextBlob))
        if sealed is None or sealed.context != dict(EncryptionContext):
            raise refused("Decrypt", UNREADABLE)
        if KeyId is not None and self._key("Decrypt", KeyId) != sealed.key:
            raise refused("Decrypt", OTHER_KEY, "The key ID in the request does not identify the key that encrypted")
        return {"Plaintext": sealed.plaintext, "KeyId": sealed.key}

    def _key(self, operation: str, key_id: str) -> str:
        key = self._keys.get(key_id)
        if key is None:
            raise refused(operation, MISSING, f"Key '{key_id}' does not exist")
        return key
