"""How far one upload has got, as the journal keeps it, so that another invocation can go on.

The presigned addresses are kept packed: hundreds of them, alike but for their signatures, would not fit into a row.
"""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from amtsbote.portals.docxworld.chunks import Chunk, chunk_plan
from amtsbote.portals.docxworld.presigned import ends_at, multipart_upload_of
from amtsbote.portals.protocols import Journal

ADDRESSES = ("urls", "headers", "endsAt", "chunks")


class Progress:
    """A typed view of a journal. Every change is written down before its method returns."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._state = journal.state

    @property
    def target(self) -> str | None:
        """The target's id, once it has been looked up."""
        return self._state.get("target")

    @property
    def process_id(self) -> str:
        """The portal's id of the upload; there is one as soon as addresses were asked for."""
        return str(self._state["processId"])

    @property
    def urls(self) -> list[str]:
        """The presigned addresses, none where there are none or they were forgotten."""
        return _unpacked(self._state["urls"]) if self._state.get("urls") else []

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that a single upload sends verbatim."""
        return dict(self._state.get("headers") or {})

    @property
    def ends_at(self) -> datetime | None:
        """When the addresses end (UTC), None where they do not say."""
        text = self._state.get("endsAt")
        return datetime.fromisoformat(text) if text else None

    @property
    def etags(self) -> dict[int, str]:
        """The ETags of the parts that the storage has, by the place of their address (from 0)."""
        return {int(counter): etag for counter, etag in self._state.get("etags", {}).items()}

    @property
    def began(self) -> bool:
        """Whether the step that makes the upload complete has been tried: its answer may have been lost."""
        return bool(self._state.get("began"))

    @property
    def sent(self) -> bool:
        """Whether the portal has the file."""
        return bool(self._state.get("sent"))

    def missing(self) -> Iterator[Chunk]:
        """Yield the pieces that the storage does not have yet."""
        have = self.etags
        return (chunk for chunk in map(_chunk, self._state["chunks"]) if chunk.counter not in have)

    def aim(self, target: str) -> None:
        """Remember the target's id."""
        self._write(target=target)

    def adopt(self, process_id: str, urls: Sequence[str], headers: Mapping[str, str], size: int) -> None:
        """Remember an upload and its addresses; ETags are kept where they belong to the same upload in the storage."""
        if not self._continues(process_id, urls):
            self._state.pop("etags", None)
        self._state.update(processId=process_id, began=False)
        self.forget_addresses(save=not urls)
        if urls:
            end = ends_at(urls)
            self._write(
                urls=_packed(urls),
                multipart=multipart_upload_of(urls[0]),
                count=len(urls),
                headers=dict(headers) if len(urls) == 1 else {},
                endsAt=end.isoformat() if end else None,
                chunks=[list(chunk) for chunk in chunk_plan(size, len(urls))],
                fruitless=0,
            )

    def _continues(self, process_id: str, urls: Sequence[str]) -> bool:
        before = (self._state.get("processId"), self._state.get("multipart"), self._state.get("count"))
        now = (process_id, multipart_upload_of(urls[0]) if urls else None, len(urls))
        return before == now and before[1] is not None

    def forget_addresses(self, *, save: bool = True) -> None:
        """Forget addresses that are refused or have ended."""
        for name in ADDRESSES:
            self._state.pop(name, None)
        if save:
            self._journal.save()

    def start_over(self) -> None:
        """Forget the parts too: the portal could not make a file of them."""
        self._state.pop("etags", None)
        self.forget_addresses()

    def count_fruitless(self) -> int:
        """Count one more time that no address was given; return how often by now."""
        count = int(self._state.get("fruitless", 0)) + 1
        self._write(fruitless=count)
        return count

    def has_part(self, counter: int, etag: str) -> None:
        """Remember that the storage has a part."""
        self._write(etags={**self._state.get("etags", {}), str(counter): etag})

    def begin(self) -> None:
        """Remember that the step which makes the upload complete is about to be tried."""
        self._write(began=True)

    def finish(self) -> None:
        """Remember that the portal has the file; what was needed to send it is forgotten."""
        self._state.pop("etags", None)
        self._state["sent"] = True
        self.forget_addresses()

    def _write(self, **changes: object) -> None:
        self._state.update(changes)
        self._journal.save()


def _chunk(saved: Sequence[int]) -> Chunk:
    counter, start, length = map(int, saved)
    return Chunk(counter, start, length)


def _packed(urls: Sequence[str]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(list(urls)).encode(), 9)).decode()


def _unpacked(packed: str) -> list[str]:
    urls: list[str] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return urls
