"""Client-side encryption of an upload: the key that docxworld makes for it, and the file under that key.

Documented on the page under "Getting upload URL" (CS_CONTENT_ENCRYPTION). docxworld wraps the key of a file with an RSA
key of ours, which is made for the one request and never kept. The file is AES-256-GCM with the IV as it is given and no
associated data; the tag follows the last byte.

Two different files under one key and IV would give both away. So a key belongs to one upload of one object version,
whose bytes never change: what is sent again is what was sent before. At rest the key is sealed by the vault, and the
sum of GHASH, with which tags can be forged, by a key derived from it.
"""

import base64
import binascii
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from amtsbote.errors import Misconfigured, Reject, Retry
from amtsbote.portals.docxworld.chunks import Chunk
from amtsbote.portals.docxworld.gcm import MOST_BYTES, TAG_BYTES, Gcm
from amtsbote.portals.docxworld.models import UploadOrder, UploadUrls
from amtsbote.portals.docxworld.progress import SealedKey
from amtsbote.portals.portal import KeyVault

FEATURE = "CS_CONTENT_ENCRYPTION"
DATA_ALGORITHM = "AES/GCM/NoPadding"
WRAP_ALGORITHM = "RSA/ECB/OAEPWithSHA-256AndMGF1Padding"
PROVIDERS = {"docxworld": "DOCXWORLD", "kms": "KMS"}
"""`dataKeyProviderType`, by the secret's `uploader.encryption`."""

RSA_BITS = 2048
RSA_EXPONENT = 65_537
KEY_BYTES = 32
SHORTEST_IV_BYTES = 12
NONCE_BYTES = 12
SUM_BYTES = 16
SUM_PURPOSE = b"amtsbote docxworld ghash"


class WrapKey:
    """An RSA key for one request: docxworld wraps the file's key with its public half."""

    def __init__(self) -> None:
        self._private = generate_private_key(RSA_EXPONENT, RSA_BITS)

    @property
    def public(self) -> str:
        """The public half as the page shows it: SubjectPublicKeyInfo in DER, in base64."""
        return _b64(self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the key that was wrapped: with MGF1 over SHA-1, as Java does it, or SHA-256, as its name suggests.

        Reject where it was wrapped with another key.
        """
        for mask in (hashes.SHA1(), hashes.SHA256()):  # noqa: S303 - Java's default for this name
            try:
                return self._private.decrypt(wrapped, OAEP(MGF1(mask), hashes.SHA256(), None))
            except ValueError:
                continue
        raise Reject("DATA_KEY_UNREADABLE", "docxworld's data key does not open with the key it was asked to wrap with")


@dataclass(frozen=True)
class ContentKey:
    """Key and IV of one file."""

    key: bytes = field(repr=False)
    iv: bytes


def encrypted_order(order: UploadOrder, provider: str, wrap_key: WrapKey, size: int) -> UploadOrder:
    """Return an order that asks for a key too; `size` is what docxworld is to be told of the file."""
    return order.model_copy(
        update={
            "supported_upload_features": (*order.supported_upload_features, FEATURE),
            "file_size": size,
            "client_wrap_key": wrap_key.public,
            "client_wrap_key_encryption_alg": WRAP_ALGORITHM,
            "data_encryption_algorithm": DATA_ALGORITHM,
            "data_key_provider_type": provider,
        }
    )


def content_key_of(answer: UploadUrls, wrap_key: WrapKey) -> ContentKey | None:
    """Return the key that an answer brings, None where it brings none; Reject where it is of no use."""
    wrapped, plain = _bytes(answer.encrypted_data_key), _bytes(answer.data_key)
    if not (wrapped or plain):
        return None
    key, iv = wrap_key.unwrap(wrapped) if wrapped else plain, _bytes(answer.iv)
    if answer.data_encryption_algorithm not in (None, DATA_ALGORITHM) or len(key) != KEY_BYTES:
        raise Reject("ENCRYPTION_UNKNOWN", "docxworld asks for an encryption that is not AES-256 in GCM")
    if len(iv) < SHORTEST_IV_BYTES:
        raise Reject("ENCRYPTION_UNKNOWN", f"docxworld gives an IV of {len(iv)} bytes, which is too short")
    return ContentKey(key, iv)


def check_size(size: int) -> None:
    """Reject a file that is larger than what one key and IV can encrypt."""
    if size > MOST_BYTES:
        mend = "split it, or set uploader.encryption to none"
        raise Reject("FILE_TOO_LARGE", f"{size} bytes are more than GCM encrypts under one key ({MOST_BYTES}); {mend}")


def sealed(key: ContentKey, provider: str, vault: KeyVault | None, context: str) -> SealedKey:
    """Return a key as a journal may hold it; `context` names the upload, and has to be named again to open it."""
    return SealedKey(provider, _b64(_required(vault).seal(key.key, context)), _b64(key.iv))


def opened(key: SealedKey, vault: KeyVault | None, context: str) -> ContentKey:
    """Return a sealed key; Retry where the vault does not open it."""
    return ContentKey(_required(vault).open(_bytes(key.sealed), context), _bytes(key.iv))


def _required(vault: KeyVault | None) -> KeyVault:
    if vault is None:
        raise Misconfigured("VAULT_MISSING", "encrypted uploads need the stack's key; deploy the template that has it")
    return vault


class FileCipher:
    """One file of `size` bytes under its key, encrypted piece by piece in any order; `context` names its upload."""

    def __init__(self, key: ContentKey, size: int, context: str) -> None:
        self.size = size
        self.gcm = Gcm(key.key, key.iv)
        derived = HKDF(hashes.SHA256(), KEY_BYTES, salt=key.iv, info=SUM_PURPOSE).derive(key.key)
        self._seal = AESGCM(derived)
        self._context = context.encode()

    def piece(self, chunk: Chunk, others: int) -> "EncryptedPiece":
        """Return one piece on its way out; `others` is the sum of the shares of all pieces that are there."""
        return EncryptedPiece(self, chunk, others)

    def seal_sum(self, shares: int) -> str:
        """Return a sum of shares as a journal may hold it."""
        nonce = os.urandom(NONCE_BYTES)
        return _b64(nonce + self._seal.encrypt(nonce, shares.to_bytes(SUM_BYTES, "big"), self._context))

    def open_sum(self, text: str | None) -> int:
        """Return a sealed sum, 0 where there is none yet; Retry where it is not of this file."""
        if text is None:
            return 0
        box = _bytes(text)
        try:
            return int.from_bytes(self._seal.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], self._context), "big")
        except InvalidTag:
            raise Retry("JOURNAL_UNREADABLE", "the journal's sum of the encrypted parts does not open") from None


class EncryptedPiece:
    """A piece of a file as it goes over the wire; the last one of the file carries the tag of the whole."""

    def __init__(self, cipher: FileCipher, chunk: Chunk, others: int) -> None:
        self._cipher = cipher
        self._others = others
        self._section = cipher.gcm.section(chunk.start)
        self._last = chunk.start + chunk.length == cipher.size
        self.length = chunk.length + (TAG_BYTES if self._last else 0)
        self.share = 0

    def outgoing(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the encrypted blocks; after the last one `share` is what this piece adds to the file's hash."""
        for block in blocks:
            yield self._section.encrypt(block)
        self.share = self._section.share(self._cipher.size)
        if self._last:
            yield self._cipher.gcm.tag(self._others ^ self.share, self._cipher.size)


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except binascii.Error:
        raise Reject("ENCRYPTION_UNKNOWN", "docxworld's description of the encryption is not base64") from None
