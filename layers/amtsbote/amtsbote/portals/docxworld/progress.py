"""How far one upload has got, as the journal keeps it, so that another invocation can go on.

The journal is one attribute of a row that may have 400 KB, and the storage takes 10,000 parts. So the plan is two
numbers, an ETag is the 16 bytes that it spells, and presigned addresses are kept, packed, only while they are few:
more of them live in memory, and are asked for again after a restart.
"""

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from amtsbote.portals.docxworld.chunks import Chunk, ChunkPlan, chunk_plan
from amtsbote.portals.docxworld.presigned import ends_at, multipart_upload_of
from amtsbote.portals.protocols import SHOWN, Journal

ETAG_BYTES = 16
USUAL_ETAG = re.compile(r'"[0-9a-f]{32}"')
NO_ETAG = bytes(ETAG_BYTES)
KEPT_ADDRESSES_CHARACTERS = 64 * 1024  # packed, of about 60 characters each
HEAVY_CHARACTERS = 64 * 1024  # from here on the journal is written once per round of parts, not once per part
SHOWN_PERCENT = 5
SHOWN_EVERY = timedelta(seconds=10)
ADDRESSES = ("urls", "headers", "endsAt")
PARTS = ("etags", "odd", "sum")
OLDER_FORM = "chunks"  # a journal that lists its pieces: its ETags and addresses are spelled another way
OUTLIVES_AN_UPLOAD = frozenset({"target", "generation", "replaced", SHOWN})


@dataclass(frozen=True)
class SealedKey:
    """The key of an encrypted upload, sealed by the vault; `provider` is who keeps docxworld's own copy of it."""

    provider: str
    sealed: str = field(repr=False)
    iv: str


class Progress:
    """A typed view of a journal. Each change is written down before its method returns, but `has_part` and `finish`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._state = journal.state
        if OLDER_FORM in self._state:
            self._forget(*ADDRESSES, *PARTS, OLDER_FORM)
        self._urls = _unpacked(self._state.get("urls"))
        self._etags = bytearray(base64.b64decode(self._state.get("etags", "")))

    # --- what is known ---

    @property
    def target(self) -> str | None:
        """The target's id, once it has been looked up."""
        return self._state.get("target")

    @property
    def generation(self) -> int:
        """The number of this upload among those of its drop, from 1."""
        return int(self._state.get("generation", 1))

    @property
    def replaced(self) -> list[str]:
        """The portal's ids of the uploads that this one replaces."""
        return list(self._state.get("replaced", ()))

    @property
    def process_id(self) -> str | None:
        """The portal's id of the upload; there is one as soon as addresses were asked for."""
        return self._state.get("processId")

    @property
    def urls(self) -> Sequence[str]:
        """The presigned addresses, none where there are none or they were forgotten."""
        return self._urls

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that a single upload sends verbatim."""
        return dict(self._state.get("headers") or {})

    @property
    def ends_at(self) -> datetime | None:
        """When the addresses end (UTC), None where they do not say."""
        return _moment(self._state.get("endsAt"))

    @property
    def key(self) -> SealedKey | None:
        """The sealed key of an encrypted upload, None for one that goes out as it is."""
        return SealedKey(**self._state["key"]) if self._state.get("key") else None

    @property
    def sum(self) -> str | None:
        """The sealed sum of what the parts that are there add to the file's hash."""
        return self._state.get("sum")

    @property
    def touched(self) -> bool:
        """Whether bytes may have left: from then on the upload's key is never exchanged."""
        return bool(self._state.get("touched"))

    @property
    def began_at(self) -> datetime | None:
        """When the step that makes the upload complete was last tried (its answer may have been lost), if it was."""
        return _moment(self._state.get("beganAt"))

    @property
    def sent(self) -> bool:
        """Whether the portal has the file."""
        return bool(self._state.get("sent"))

    @property
    def heavy(self) -> bool:
        """Whether the journal is so large that it should be written rarely."""
        return sum(len(self._state.get(name, "")) for name in ("etags", "urls")) > HEAVY_CHARACTERS

    # --- parts ---

    @property
    def plan(self) -> ChunkPlan:
        """How the file is cut."""
        return ChunkPlan(self._state["size"], self._state["chunkBytes"])

    @property
    def etags(self) -> dict[int, str]:
        """The ETags of the parts that the storage has, by the place of their address (from 0)."""
        usual = {n: self._etag(n) for n in range(len(self._etags) // ETAG_BYTES) if self._etag(n)}
        odd = {int(counter): etag for counter, etag in self._state.get("odd", {}).items()}
        return dict(sorted({**usual, **odd}.items()))

    @property
    def bytes_there(self) -> int:
        """How many bytes of the file the storage has."""
        return sum(self.plan.chunk(counter).length for counter in self.etags) if "size" in self._state else 0

    def missing(self) -> Iterator[Chunk]:
        """Yield the pieces that the storage does not have yet, in order."""
        plan, have = self.plan, self.etags
        return (plan.chunk(counter) for counter in range(plan.count) if counter not in have)

    def has_part(self, counter: int, etag: str) -> None:
        """Take note that the storage has a part; `keep_parts` writes it down."""
        digest = bytes.fromhex(etag.strip('"')) if USUAL_ETAG.fullmatch(etag) else NO_ETAG
        if digest != NO_ETAG:
            self._etags.extend(bytes(max(0, (counter + 1) * ETAG_BYTES - len(self._etags))))
            self._etags[counter * ETAG_BYTES : (counter + 1) * ETAG_BYTES] = digest
        else:
            self._state.setdefault("odd", {})[str(counter)] = etag

    def keep_parts(self, hash_sum: str | None) -> None:
        """Write down what parts are there, and what they add to the hash of an encrypted file."""
        self._forget("fruitless", "slow")
        kept = {"sum": hash_sum} if hash_sum else {}
        self._write(etags=base64.b64encode(self._etags).decode(), **kept)

    def show(self, sent: int, total: int, now: datetime) -> bool:
        """Let the receipt show how many bytes have been sent, now and then; return whether it will, once written.

        The end is not shown: it is told by itself, and a small file would cost a receipt more.
        """
        before = self._state.get(SHOWN) or {"at": None, "result": {}}
        more = sent - before["result"].get("bytesSent", 0)
        since = _moment(before["at"])
        first = since is None and len(self._urls) > 1  # of a file in parts, from the beginning
        late = since is not None and now - since >= SHOWN_EVERY
        if more <= 0 or sent >= total or not (first or late or more * 100 >= total * SHOWN_PERCENT):
            return False
        self._state[SHOWN] = {"at": now.isoformat(), "result": {"bytesSent": sent, "bytesTotal": total}}
        return True

    def _etag(self, counter: int) -> str:
        digest = bytes(self._etags[counter * ETAG_BYTES : (counter + 1) * ETAG_BYTES])
        return "" if digest == NO_ETAG else f'"{digest.hex()}"'

    # --- what happens ---

    def aim(self, target: str) -> None:
        """Remember the target's id."""
        self._write(target=target)

    def name(self, process_id: str) -> None:
        """Remember the portal's id of the upload, where nothing else of it is known."""
        if self.process_id != process_id:
            self._forget(*PARTS, "multipart", "beganAt")
            self._write(processId=process_id)

    def adopt(
        self,
        process_id: str,
        urls: Sequence[str],
        headers: Mapping[str, str],
        size: int,
        key: SealedKey | None = None,
        begun_at: datetime | None = None,
    ) -> None:
        """Remember an upload, its addresses and its key; parts are kept where they are of the same upload.

        Not a byte may have been sent under another key than this one. `begun_at`: as of `begin`, in the same write.
        """
        plan = chunk_plan(size, len(urls))
        if not self._continues(process_id, urls):
            self._forget(*PARTS)
        if self.process_id != process_id:
            self._forget("beganAt")
        self._forget(*ADDRESSES)
        self._urls, end = list(urls), ends_at(urls)
        self._write(
            **_kept(urls),
            processId=process_id,
            multipart=multipart_upload_of(urls[0]),
            count=len(urls),
            headers=dict(headers) if len(urls) == 1 else {},
            endsAt=end.isoformat() if end else None,
            size=size,
            chunkBytes=plan.chunk_bytes,
            key=asdict(key) if key else None,
            **(_begun(begun_at) if begun_at else {}),
        )

    def _continues(self, process_id: str, urls: Sequence[str]) -> bool:
        before = (self._state.get("processId"), self._state.get("multipart"), self._state.get("count"))
        now = (process_id, multipart_upload_of(urls[0]), len(urls))
        return before == now and before[1] is not None

    def forget_addresses(self) -> None:
        """Forget addresses that are refused or have ended."""
        self._forget(*ADDRESSES)
        self._journal.save()

    def start_over(self) -> None:
        """Forget the parts too: the portal could not make a file of them."""
        self._forget(*PARTS)
        self.forget_addresses()

    def count_fruitless(self) -> int:
        """Count one more time that an unfinished upload could not be gone on with; return how often by now."""
        count = int(self._state.get("fruitless", 0)) + 1
        self._write(fruitless=count)
        return count

    @property
    def slow(self) -> int:
        """How often in a row an invocation was too short for even one part."""
        return int(self._state.get("slow", 0))

    def count_slow(self) -> int:
        """Count one more invocation that was too short; return how many by now."""
        self._write(slow=self.slow + 1)
        return self.slow

    def touch(self) -> None:
        """Remember that bytes are about to leave."""
        if not self.touched:
            self._write(touched=True)

    def begin(self, now: datetime) -> None:
        """Remember that the step which makes the upload complete is about to be tried."""
        self._write(**_begun(now))

    def replace(self) -> None:
        """Give this upload up, and remember it as one that the next, of another reference, replaces."""
        replaced = [*self.replaced, *([self.process_id] if self.process_id else [])]
        self._clear()
        self._write(generation=self.generation + 1, replaced=replaced)

    def return_to(self, process_id: str) -> None:
        """Take back that an upload was replaced: it has arrived after all."""
        self._clear()
        self._write(processId=process_id, replaced=[each for each in self.replaced if each != process_id])

    def finish(self) -> None:
        """Take note that the portal has the file, for the next write; what was needed to send it is forgotten."""
        self._forget(*ADDRESSES, *PARTS, "key")
        self._state["sent"] = True

    # --- the journal ---

    def _clear(self) -> None:
        self._forget(*(set(self._state) - OUTLIVES_AN_UPLOAD))

    def _forget(self, *names: str) -> None:
        for name in names:
            self._state.pop(name, None)
        if "urls" in names:
            self._urls = []
        if "etags" in names:
            self._etags = bytearray()

    def _write(self, **changes: object) -> None:
        self._state.update(changes)
        self._journal.save()


def _begun(at: datetime) -> dict[str, object]:
    return {"beganAt": at.isoformat(), "touched": True}


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _kept(urls: Sequence[str]) -> dict[str, str]:
    """Return the addresses packed, as the journal keeps them; nothing where they are too many for it."""
    packed = base64.b64encode(zlib.compress(json.dumps(list(urls)).encode(), 9)).decode()
    return {"urls": packed} if len(packed) <= KEPT_ADDRESSES_CHARACTERS else {}


def _unpacked(packed: str | None) -> list[str]:
    return json.loads(zlib.decompress(base64.b64decode(packed))) if packed else []
