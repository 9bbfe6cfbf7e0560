"""containerd's content store, by its API and by its directory.

Neither tells everything: 1.6 and 1.7 have no event for new content, the garbage collector is silent in
every version, and files are shared between namespaces. So an event or a changed file is only a hint where
to look: what is true is asked of the API, by one reader, one question after the other, which is why an
answer is never older than the one before it. What no hint led to is found by listing everything: soon
after a watch begins, after image events (content may have joined or left the namespace without its file
changing), and every five minutes.
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
from heliograph_indexer.adapters.directory import DirectoryWatch, watch_directory
from heliograph_indexer.adapters.metrics import noticed, noticed_since, store_resyncs
from heliograph_indexer.agenda import Agenda
from heliograph_indexer.domain.content import Content, Holdings, StoreEvent
from heliograph_indexer.errors import StoreUnavailable
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest

_LIST_EVERY_S = 300.0
_SOON_S, _LATER_S = 1.0, 4.0
_COMMIT_S = 1.0
_COMMIT_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class _FileAppeared:
    """A file is there shortly before the API knows it: look until then (monotonic seconds)."""

    digest: Digest
    until: float


class _List(Enum):
    """List everything, for one reason or another; each has its own time."""

    NOW = auto()
    SOON = auto()
    LATER = auto()
    PERIODIC = auto()
    OVERFLOW = auto()


_Look = BlobTouched | ImageTouched | _FileAppeared | _List


class ContainerdStore:
    """`content_path` holds `blobs` as this process sees it; None: where containerd says it is."""

    def __init__(self, socket: Path, namespace: str, content_path: Path | None) -> None:
        self._socket, self._namespace, self._content_path = socket, namespace, content_path
        self._client: ContainerdClient | None = None

    @asynccontextmanager
    async def watch(self) -> AsyncIterator["ContainerdWatch"]:
        async with open_containerd(self._socket, self._namespace) as client:
            root = self._content_path or await client.content_root()
            agenda = Agenda[_Look](instead=_List.OVERFLOW)
            async with (
                watch_directory(root / "blobs") as directory,
                _feeding(agenda, _follow_events(client, agenda), _follow_files(directory, agenda)),
            ):
                watch = ContainerdWatch(client, await client.content(), agenda)
                store_resyncs.inc()
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
    """The one reader of the agenda."""

    def __init__(self, client: ContainerdClient, content: Content, agenda: Agenda[_Look]) -> None:
        self.content = content
        self._client, self._agenda = client, agenda
        self._known = Holdings(dict(content.blobs), dict(content.tags))

    async def changes(self) -> AsyncIterator[StoreEvent]:
        # The subscription may have begun a moment after the first listing.
        self._agenda.add(_List.SOON, _SOON_S)
        self._agenda.add(_List.PERIODIC, _LIST_EVERY_S)
        while True:
            for event in await self._look(await self._agenda.next()):
                self._known.apply(event)
                yield event

    async def _look(self, at: _Look) -> list[StoreEvent]:
        match at:
            case BlobTouched(digest, at_s):
                event = self._known.blob_event(digest, await self._client.blob_size(digest))
                if event:
                    noticed_since(at_s)
            case _FileAppeared(digest, until):
                size_bytes = await self._client.blob_size(digest)
                if size_bytes is None and time.monotonic() < until:
                    self._agenda.add(at, _COMMIT_LOOK_S)
                event = self._known.blob_event(digest, size_bytes)
                if event:
                    noticed(time.monotonic() - (until - _COMMIT_S))
            case ImageTouched(name, deleted, at_s):
                self._agenda.add(_List.SOON, _SOON_S)
                if deleted:  # the collection that follows takes its time
                    self._agenda.add(_List.LATER, _LATER_S)
                event = self._known.tag_event(name, await self._client.tag(name))
                if event:
                    noticed_since(at_s)
            case _List():
                return await self._look_at_everything(at)
            case _:
                assert_never(at)
        return [event] if event else []

    async def _look_at_everything(self, reason: _List) -> list[StoreEvent]:
        if reason is _List.OVERFLOW:  # it stands for whatever was on the agenda
            self._agenda.add(_List.SOON, _SOON_S)
            self._agenda.add(_List.LATER, _LATER_S)
        self._agenda.add(_List.PERIODIC, _LIST_EVERY_S)
        store_resyncs.inc()
        return list(self._known.events_towards(await self._client.content()))


async def _follow_events(client: ContainerdClient, agenda: Agenda[_Look]) -> None:
    async for touched in client.events():
        agenda.add(touched)


async def _follow_files(directory: DirectoryWatch, agenda: Agenda[_Look]) -> None:
    async for paths in directory.changes():
        if not paths:
            agenda.add(_List.NOW)
        for path in paths:
            for look, after_s in _looks(path):
                agenda.add(look, after_s)


def _looks(path: Path) -> list[tuple[_Look, float]]:
    """Into a directory that is new, blobs may have come unseen, and not be known to the API yet."""
    try:
        digest = parse_digest(f"{path.parent.name}:{path.name}")
    except InvalidDigest:
        return [(_List.NOW, 0.0), (_List.SOON, _COMMIT_S / 3), (_List.LATER, _COMMIT_S)]
    if path.exists():
        return [(_FileAppeared(digest, time.monotonic() + _COMMIT_S), 0.0)]
    return [(BlobTouched(digest, time.time()), 0.0)]


@asynccontextmanager
async def _feeding(agenda: Agenda[_Look], *sources: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run what fills the agenda; the failure of one is raised where the agenda is read."""

    async def feed(source: Coroutine[None, None, None]) -> None:
        try:
            await source
        except Exception as error:  # noqa: BLE001 - the reader gets it, whatever it is
            agenda.fail(error)

    tasks = [asyncio.create_task(feed(source)) for source in sources]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
