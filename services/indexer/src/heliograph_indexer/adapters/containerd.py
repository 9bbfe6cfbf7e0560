"""containerd's content store, followed through its API and its directory.

Neither source is complete: containerd 1.6 and 1.7 send no event for new content, the garbage collector sends
none in any version, and namespaces share files. So an event or a changed file is only a hint what to look at;
the state itself is always read from the API. One reader makes one call after the other, so no answer is older
than the one before it. Changes without a hint are found by listing everything: soon after a watch begins,
after image events (content may join or leave the namespace while its file stays as it is), and every five
minutes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import assert_never

from heliograph_indexer.adapters.containerd_rpc import (
    BlobTouched,
    ContainerdClient,
    ImageTouched,
    open_containerd,
)
from heliograph_indexer.adapters.directory_watch import DirectoryWatch, watch_directory
from heliograph_indexer.adapters.metrics import IndexerMetrics
from heliograph_indexer.domain.content import Holdings, StoreContent, StoreEvent
from heliograph_indexer.due_queue import DueQueue
from heliograph_indexer.errors import StoreUnavailable
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest

_LIST_EVERY_S = 300.0
_SOON_S, _LATER_S = 1.0, 4.0
_COMMIT_S = 1.0
_COMMIT_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class _FileAppeared:
    """A blob's file exists shortly before the API knows the blob: ask until then (monotonic seconds)."""

    digest: Digest
    until: float


class _Listing(Enum):
    """List everything. Each reason is queued at its own time."""

    NOW = auto()
    SOON = auto()
    LATER = auto()
    PERIODIC = auto()
    OVERFLOW = auto()


_Hint = BlobTouched | ImageTouched | _FileAppeared | _Listing


class ContainerdStore:
    """`content_path` holds `blobs`, as this process sees it; None: the directory that containerd reports."""

    def __init__(
        self, socket: Path, namespace: str, content_path: Path | None, metrics: IndexerMetrics
    ) -> None:
        self._socket, self._namespace, self._content_path = socket, namespace, content_path
        self._metrics = metrics
        self._client: ContainerdClient | None = None

    @asynccontextmanager
    async def watch(self) -> AsyncIterator["ContainerdWatch"]:
        async with open_containerd(self._socket, self._namespace) as client:
            root = self._content_path or await client.content_root()
            hints = DueQueue[_Hint](overflow=_Listing.OVERFLOW)
            async with (
                watch_directory(root / "blobs") as directory,
                _feeding(hints, _follow_events(client, hints), _follow_files(directory, hints)),
            ):
                watch = ContainerdWatch(client, await client.content(), hints, self._metrics)
                self._metrics.store_resyncs.inc()
                self._client = client
                try:
                    yield watch
                finally:
                    self._client = None

    async def downloading(self) -> Sequence[Digest]:
        if self._client is None:
            raise StoreUnavailable(f"containerd at {self._socket}", "not connected")
        return await self._client.downloading()


class ContainerdWatch:
    """The only reader of the queue of hints."""

    def __init__(
        self,
        client: ContainerdClient,
        content: StoreContent,
        hints: DueQueue[_Hint],
        metrics: IndexerMetrics,
    ) -> None:
        self.content = content
        self._client, self._hints, self._metrics = client, hints, metrics
        self._known = Holdings(dict(content.blobs), dict(content.tags))

    async def changes(self) -> AsyncIterator[StoreEvent]:
        # The event subscription may have begun a moment after the first listing.
        self._hints.add(_Listing.SOON, _SOON_S)
        self._hints.add(_Listing.PERIODIC, _LIST_EVERY_S)
        while True:
            for event in await self._follow(await self._hints.next()):
                self._known.apply(event)
                yield event

    async def _follow(self, hint: _Hint) -> list[StoreEvent]:
        match hint:
            case BlobTouched(digest, at_s):
                event = self._known.blob_event(digest, await self._client.blob_size(digest))
                if event:
                    self._metrics.noticed_since(at_s)
            case _FileAppeared(digest, until):
                size_bytes = await self._client.blob_size(digest)
                if size_bytes is None and time.monotonic() < until:
                    self._hints.add(hint, _COMMIT_POLL_S)
                event = self._known.blob_event(digest, size_bytes)
                if event:
                    self._metrics.noticed(time.monotonic() - (until - _COMMIT_S))
            case ImageTouched(name, deleted, at_s):
                self._hints.add(_Listing.SOON, _SOON_S)
                if deleted:  # the garbage collection that follows takes a while
                    self._hints.add(_Listing.LATER, _LATER_S)
                event = self._known.tag_event(name, await self._client.tag(name))
                if event:
                    self._metrics.noticed_since(at_s)
            case _Listing():
                return await self._list_everything(hint)
            case _:
                assert_never(hint)
        return [event] if event else []

    async def _list_everything(self, reason: _Listing) -> list[StoreEvent]:
        if reason is _Listing.OVERFLOW:  # it stands for dropped hints of any kind
            self._hints.add(_Listing.SOON, _SOON_S)
            self._hints.add(_Listing.LATER, _LATER_S)
        self._hints.add(_Listing.PERIODIC, _LIST_EVERY_S)
        self._metrics.store_resyncs.inc()
        return list(self._known.events_to_reach(await self._client.content()))


async def _follow_events(client: ContainerdClient, hints: DueQueue[_Hint]) -> None:
    async for touched in client.events():
        hints.add(touched)


async def _follow_files(directory: DirectoryWatch, hints: DueQueue[_Hint]) -> None:
    async for paths in directory.changes():
        if not paths:
            hints.add(_Listing.NOW)
        for path in paths:
            for hint, after_s in _hints_of(path):
                hints.add(hint, after_s)


def _hints_of(path: Path) -> list[tuple[_Hint, float]]:
    """Hints and their delays in seconds.

    A path that is no blob is a new directory: blobs may have been written to it before it was watched, and
    the API may not know them yet.
    """
    try:
        digest = parse_digest(f"{path.parent.name}:{path.name}")
    except InvalidDigest:
        return [(_Listing.NOW, 0.0), (_Listing.SOON, _COMMIT_S / 3), (_Listing.LATER, _COMMIT_S)]
    if path.exists():
        return [(_FileAppeared(digest, time.monotonic() + _COMMIT_S), 0.0)]
    return [(BlobTouched(digest, time.time()), 0.0)]


@asynccontextmanager
async def _feeding(hints: DueQueue[_Hint], *sources: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run the sources of hints beside the body; an error of one is raised to the reader of `hints`."""

    async def feed(source: Coroutine[None, None, None]) -> None:
        try:
            await source
        except Exception as error:  # noqa: BLE001 - the reader gets it, whatever it is
            hints.fail(error)

    tasks = [asyncio.create_task(feed(source)) for source in sources]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
