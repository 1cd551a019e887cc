"""The keys of a client-side encrypted upload: made here, wrapped for the client, and what arrives opened with them."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.serialization import load_der_public_key

from .errors import RefusedError, refused
from .fields import Body
from .storage import META_PREFIX

FEATURE = "CS_CONTENT_ENCRYPTION"
WRAP_ALGORITHM = "RSA/ECB/OAEPWithSHA-256AndMGF1Padding"
DATA_ALGORITHM = "AES/GCM/NoPadding"
KEY_PROVIDERS = ("DOCXWORLD", "KMS")
KEY_BYTES = 32
IV_BYTES = 16
TAG_BYTES = 16
WRAPPED_KEY_BYTES = 256


@dataclass(frozen=True)
class EncryptionRequest:
    """What an upload asks for. `wrap_key` is DER, or None when the data key is to come as plain text."""

    provider: str
    wrap_key: bytes | None


@dataclass
class Encryption:
    """The data key and nonce of one upload; they stay the same however often they are asked for."""

    provider: str
    key: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES))
    iv: bytes = field(default_factory=lambda: secrets.token_bytes(IV_BYTES))
    java_mask: bool = True
    stored_key: bytes = field(default_factory=lambda: secrets.token_bytes(WRAPPED_KEY_BYTES))

    def answer(self, request: EncryptionRequest) -> dict[str, str | None]:
        """The fields of the answer: the key wrapped for the client, or plain when no wrapping key came."""
        wrapped = self.stored_key if request.wrap_key is None else wrap(self.key, request.wrap_key, self.java_mask)
        return {
            "b64encryptedDataKey": _b64(wrapped),
            "b64Iv": _b64(self.iv),
            "b64DataKey": _b64(self.key) if request.wrap_key is None else None,
            "clientWrapKeyEncryptionAlg": None,
            "dataEncryptionAlgorithm": DATA_ALGORITHM,
        }

    def headers(self, plain_size: int) -> dict[str, str]:
        """The metadata that the stored object must carry."""
        values = {
            "cek-alg": DATA_ALGORITHM,
            "iv": _b64(self.iv),
            "key-v2": _b64(self.stored_key),
            "matdesc": "{}",
            "tag-len": str(TAG_BYTES * 8),
            "unencrypted-content-length": str(plain_size),
            "wrap-alg": "kms" if self.provider == "KMS" else WRAP_ALGORITHM,
        }
        named = {f"{META_PREFIX}x-amz-{name}": value for name, value in values.items()}
        return {f"{META_PREFIX}datakeyprovidertype": self.provider, **named}

    def opened(self, chunks: Iterator[bytes]) -> tuple[str, int] | None:
        """Hash and length of the plain text of what was stored; None when it does not open: a wrong key, IV or tag."""
        decryptor = Cipher(AES(self.key), GCM(self.iv)).decryptor()
        digest, size, held = hashlib.sha256(), 0, b""
        for chunk in chunks:
            held += chunk
            ready, held = held[:-TAG_BYTES], held[-TAG_BYTES:]
            digest.update(decryptor.update(ready))
            size += len(ready)
        try:
            decryptor.finalize_with_tag(held)
        except (InvalidTag, ValueError):
            return None
        return digest.hexdigest(), size


NO_ENCRYPTION: dict[str, str | None] = {
    "b64encryptedDataKey": None,
    "b64Iv": None,
    "b64DataKey": None,
    "clientWrapKeyEncryptionAlg": None,
    "dataEncryptionAlgorithm": None,
}


def read_encryption(body: Body, features: list[str]) -> EncryptionRequest | None:
    """The encryption that an upload asks for; None for a plain one. 400 when what it says is incomplete or unknown."""
    wrap_key, wrap_algorithm = body.text("b64ClientWrapKey"), body.text("clientWrapKeyEncryptionAlg")
    algorithm, provider = body.text("dataEncryptionAlgorithm"), body.choice("dataKeyProviderType", KEY_PROVIDERS)
    if wrap_key is wrap_algorithm is algorithm is provider is None:
        return None
    if (
        FEATURE not in features
        or provider is None
        or algorithm is None
        or (wrap_key is None) != (wrap_algorithm is None)
    ):
        raise refused("client.encryption_parameters_missing", "Incomplete set of data for encryption data key")
    if algorithm != DATA_ALGORITHM:
        raise refused("server.no_such_data_encr_algorithm", "No such data encryption algorithm")
    if wrap_algorithm not in (None, WRAP_ALGORITHM):
        raise refused("server.no_such_client_key_encr_algorithm", "No such key encryption algorithm")
    return EncryptionRequest(provider, None if wrap_key is None else _read_key(wrap_key))


def _read_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
        wrap(b"", key)
    except ValueError as error:
        raise _bad_key() from error
    return key


def _bad_key() -> RefusedError:
    return refused("client.validation", "Validation error", "b64ClientWrapKey: must be an RSA public key in DER")


def wrap(data_key: bytes, der: bytes, java_mask: bool = True) -> bytes:
    """The data key, wrapped with the client's RSA key: OAEP with SHA-256, but MGF1 with SHA-1 as Java means it."""
    try:
        public = load_der_public_key(der)
    except UnsupportedAlgorithm as error:
        raise ValueError("unknown kind of key") from error
    if not isinstance(public, RSAPublicKey):
        raise ValueError("no RSA key")
    mask = hashes.SHA1() if java_mask else hashes.SHA256()  # noqa: S303 - what Java's algorithm of that name does
    return public.encrypt(data_key, OAEP(MGF1(mask), hashes.SHA256(), None))


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
