"""Keys of encrypted uploads: unwrapped as Java wraps them, sealed at rest; files of any size in one piece or many."""

import base64
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_der_public_key

import amtsbote
from amtsbote.errors import Misconfigured, Reject, Retry
from amtsbote.portals.docxworld.chunks import Chunk
from amtsbote.portals.docxworld.encryption import (
    ContentKey,
    FileCipher,
    WrapKey,
    check_size,
    content_key_of,
    encrypted_order,
    opened,
    sealed,
)
from amtsbote.portals.docxworld.gcm import MOST_BYTES, TAG_BYTES
from amtsbote.portals.docxworld.models import UploadOrder, UploadUrls

KEY, IV = bytes(range(32)), bytes(range(16))
CONTENT_KEY = ContentKey(KEY, IV)
TARGET = "a84397c4-fadd-4fb7-9145-7d580646cc86"


@pytest.fixture(scope="module")
def wrap_key() -> WrapKey:
    return WrapKey()


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def wrapped(wrap_key: WrapKey, key: bytes = KEY, mask: hashes.HashAlgorithm | None = None) -> bytes:
    """Return a key as docxworld wraps it: what Java makes of OAEPWithSHA-256AndMGF1Padding."""
    public = load_der_public_key(base64.b64decode(wrap_key.public))
    assert isinstance(public, RSAPublicKey)
    return public.encrypt(key, OAEP(MGF1(mask or hashes.SHA1()), hashes.SHA256(), None))  # noqa: S303


def answer(**fields: Any) -> UploadUrls:
    return UploadUrls.model_validate({"id": "p1", "b64Iv": b64(IV), **fields})


# --- keys ---


def test_the_wrap_key_is_rsa_of_2048_bits_as_the_page_shows_it(wrap_key: WrapKey) -> None:
    der = base64.b64decode(wrap_key.public, validate=True)
    public = load_der_public_key(der)
    assert isinstance(public, RSAPublicKey) and public.key_size == 2048
    assert wrap_key.public.startswith("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA")


def test_each_request_has_a_wrap_key_of_its_own(wrap_key: WrapKey) -> None:
    assert WrapKey().public != wrap_key.public


@pytest.mark.parametrize("mask", [hashes.SHA1(), hashes.SHA256()])  # noqa: S303
def test_a_key_is_unwrapped_under_both_masks(wrap_key: WrapKey, mask: hashes.HashAlgorithm) -> None:
    given = answer(b64encryptedDataKey=b64(wrapped(wrap_key, mask=mask)), dataEncryptionAlgorithm="AES/GCM/NoPadding")
    assert content_key_of(given, wrap_key) == CONTENT_KEY


def test_a_key_in_plain_text_is_taken_too(wrap_key: WrapKey) -> None:
    assert content_key_of(answer(b64DataKey=b64(KEY)), wrap_key) == CONTENT_KEY


def test_an_answer_without_a_key_is_none(wrap_key: WrapKey) -> None:
    assert content_key_of(answer(), wrap_key) is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"b64DataKey": b64(KEY[:16])}, "ENCRYPTION_UNKNOWN"),
        ({"b64DataKey": b64(KEY), "b64Iv": b64(IV[:8])}, "ENCRYPTION_UNKNOWN"),
        ({"b64DataKey": b64(KEY), "b64Iv": None}, "ENCRYPTION_UNKNOWN"),
        ({"b64DataKey": b64(KEY), "dataEncryptionAlgorithm": "AES/CBC/PKCS5Padding"}, "ENCRYPTION_UNKNOWN"),
        ({"b64DataKey": "?"}, "ENCRYPTION_UNKNOWN"),
        ({"b64encryptedDataKey": b64(bytes(256))}, "DATA_KEY_UNREADABLE"),
    ],
)
def test_a_key_that_is_of_no_use_is_refused_and_not_shown(
    wrap_key: WrapKey, fields: dict[str, str | None], code: str
) -> None:
    with pytest.raises(Reject) as refused:
        content_key_of(answer(**fields), wrap_key)
    assert refused.value.code == code
    assert b64(KEY) not in str(refused.value)


def test_a_key_is_never_printed() -> None:
    assert repr(KEY) not in repr(CONTENT_KEY)


def test_an_order_asks_for_a_key_and_keeps_the_rest(wrap_key: WrapKey) -> None:
    order = UploadOrder(supported_upload_features=("MULTIPART",), target_id=TARGET, file_name="a.pdf", file_size=5)
    assert encrypted_order(order, "KMS", wrap_key, 21).body() == {
        "supportedUploadFeatures": ["MULTIPART", "CS_CONTENT_ENCRYPTION"],
        "targetId": TARGET,
        "fileName": "a.pdf",
        "fileSize": 21,
        "b64ClientWrapKey": wrap_key.public,
        "clientWrapKeyEncryptionAlg": "RSA/ECB/OAEPWithSHA-256AndMGF1Padding",
        "dataEncryptionAlgorithm": "AES/GCM/NoPadding",
        "dataKeyProviderType": "KMS",
    }


def test_what_gcm_cannot_encrypt_is_refused() -> None:
    check_size(MOST_BYTES)
    with pytest.raises(Reject, match="FILE_TOO_LARGE"):
        check_size(MOST_BYTES + 1)


def test_who_does_not_encrypt_does_not_pay_for_it() -> None:
    code = "import sys, amtsbote.portals.docxworld.uploads; sys.exit('cryptography' in sys.modules)"
    environment = {"PYTHONPATH": str(Path(amtsbote.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


# --- at rest ---


class Vault:
    """A vault that can be looked into."""

    def __init__(self) -> None:
        self.held: dict[bytes, tuple[bytes, str]] = {}

    def seal(self, secret: bytes, context: str) -> bytes:
        name = f"box {len(self.held)}".encode()
        self.held[name] = (secret, context)
        return name

    def open(self, sealed: bytes, context: str) -> bytes:
        secret, own = self.held[sealed]
        assert context == own
        return secret


def test_a_key_is_sealed_under_the_name_of_its_upload() -> None:
    vault = Vault()
    box = sealed(CONTENT_KEY, "KMS", vault, "amtsbote-1.2")
    assert vault.held == {b"box 0": (KEY, "amtsbote-1.2")}
    assert b64(KEY) not in json.dumps([box.sealed, box.iv])
    assert opened(box, vault, "amtsbote-1.2") == CONTENT_KEY


def test_without_a_vault_nothing_is_encrypted() -> None:
    with pytest.raises(Misconfigured, match="VAULT_MISSING"):
        sealed(CONTENT_KEY, "KMS", None, "amtsbote-1")


def test_the_sum_of_the_hash_is_sealed_for_its_file_and_upload() -> None:
    cipher = FileCipher(CONTENT_KEY, 100, "amtsbote-1")
    box = cipher.seal_sum(12345)
    assert cipher.open_sum(box) == 12345
    assert cipher.open_sum(None) == 0
    assert cipher.seal_sum(12345) != box
    for other in (
        FileCipher(CONTENT_KEY, 100, "amtsbote-2"),
        FileCipher(ContentKey(KEY, KEY[:16][::-1]), 100, "amtsbote-1"),
    ):
        with pytest.raises(Retry, match="does not open"):
            other.open_sum(box)


# --- files ---


def blocks(content: bytes, size: int = 10) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100])
def test_a_file_in_one_piece_carries_its_tag(size: int) -> None:
    content = KEY[:20] * 5
    cipher = FileCipher(CONTENT_KEY, size, "r")
    piece = cipher.piece(Chunk(0, 0, size), 0)
    out = b"".join(piece.outgoing(blocks(content[:size])))
    assert out == AESGCM(KEY).encrypt(IV, content[:size], None)
    assert len(out) == piece.length == size + TAG_BYTES


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_pieces_go_in_any_order_before_the_last_whose_tag_is_over_all(order: tuple[int, ...]) -> None:
    content = bytes(range(256)) * 2
    cipher, shares, out = FileCipher(CONTENT_KEY, len(content), "r"), 0, {}
    chunks = [Chunk(0, 0, 160), Chunk(1, 160, 160), Chunk(2, 320, 160)]
    for chunk in [*(chunks[n] for n in order), Chunk(3, 480, 32)]:
        piece = cipher.piece(chunk, shares)
        out[chunk.counter] = b"".join(piece.outgoing(blocks(content[chunk.start : chunk.start + chunk.length])))
        assert len(out[chunk.counter]) == piece.length
        shares ^= piece.share
    assert b"".join(out[n] for n in range(4)) == AESGCM(KEY).encrypt(IV, content, None)


def test_a_piece_sent_again_is_the_same_bytes() -> None:
    cipher = FileCipher(CONTENT_KEY, 64, "r")
    one, again = (b"".join(cipher.piece(Chunk(1, 32, 32), 7).outgoing(blocks(KEY))) for _ in range(2))
    assert one == again
