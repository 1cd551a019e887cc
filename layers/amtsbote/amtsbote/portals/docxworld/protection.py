"""Under which key an upload is encrypted: asked for, compared with the one that bytes were sent under, kept sealed.

A key may be exchanged only before anything was sent under it. From then on the upload goes on with it, or is replaced.
"""

from amtsbote.errors import Reject
from amtsbote.portals.docxworld.connection import Uploader
from amtsbote.portals.docxworld.encryption import (
    PROVIDERS,
    ContentKey,
    FileCipher,
    WrapKey,
    check_size,
    content_key_of,
    encrypted_order,
    opened,
    sealed,
)
from amtsbote.portals.docxworld.gcm import TAG_BYTES
from amtsbote.portals.docxworld.models import UploadOrder, UploadUrls
from amtsbote.portals.docxworld.progress import Progress, SealedKey
from amtsbote.portals.portal import KeyVault


class Protection:
    """The encryption of one drop of `size` bytes, which is ended as it was begun whatever the secret says meanwhile."""

    def __init__(self, uploader: Uploader, vault: KeyVault | None, size: int, progress: Progress) -> None:
        self._provider = progress.key.provider if progress.key else PROVIDERS[uploader.encryption]
        self._announced = size + (TAG_BYTES if uploader.file_size == "ciphertext" else 0)
        self._vault = vault
        self._size = size
        self._progress = progress
        self._wrap_key: WrapKey | None = None
        self._known: tuple[SealedKey, ContentKey] | None = None

    def asking_for_key(self, order: UploadOrder) -> UploadOrder:
        """Return an order that asks for a key too, to be wrapped for us; Reject where the file is too large."""
        check_size(self._size)
        self._wrap_key = WrapKey()
        return encrypted_order(order, self._provider, self._wrap_key, self._announced)

    def key_from(self, answer: UploadUrls, reference: str) -> SealedKey | None:
        """Return the key to go on with, sealed; None where this upload cannot be gone on with.

        Reject where a new upload comes without a key: the file must not go out in clear.
        """
        given = self._given(answer)
        if given is None and not answer.job_already_exists:
            mend = "have encryption allowed for the target at docxworld, or set uploader.encryption to none"
            raise Reject("NOT_ENCRYPTED", f"docxworld was asked for an encrypted upload and gives no key; {mend}")
        own = self._progress.key if self._progress.process_id == answer.id else None
        if own is not None and given in (None, self._opened(own, reference)):
            return own
        if given is None or (own is not None and self._progress.touched):
            return None
        fresh = sealed(given, self._provider, self._vault, reference)
        self._known = (fresh, given)
        return fresh

    def cipher(self, reference: str) -> FileCipher:
        """Return what encrypts the file under the key of the upload; Retry where the vault does not open it."""
        own = self._progress.key
        if own is None:
            raise Reject("NOT_ENCRYPTED", "the upload has no key, and the file must not go out in clear")
        return FileCipher(self._opened(own, reference), self._size, reference)

    def _given(self, answer: UploadUrls) -> ContentKey | None:
        try:
            return content_key_of(answer, self._wrap_key or WrapKey())
        except Reject:
            if answer.job_already_exists:  # it may have been wrapped for an earlier request
                return None
            raise

    def _opened(self, key: SealedKey, reference: str) -> ContentKey:
        """Return a key that is opened once per invocation."""
        if self._known is None or self._known[0] != key:
            self._known = (key, opened(key, self._vault, reference))
        return self._known[1]
