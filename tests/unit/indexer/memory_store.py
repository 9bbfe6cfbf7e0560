"""A content store in memory; the contract suite proves that it behaves as the real ones do."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from heliograph_indexer.domain.content import Holdings, StoreContent, StoreEvent, TagSet
from heliograph_indexer.errors import StoreUnavailable
from heliograph_shared.digest import Digest


class MemoryStore:
    """Changed by `happen`; `available` can be switched off and on. One watch at a time."""

    def __init__(self) -> None:
        self.holdings = Holdings()
        self.on_the_way: list[Digest] = []
        self._available = True
        self._watch: MemoryWatch | None = None

    def happen(self, event: StoreEvent) -> None:
        if isinstance(event, TagSet):
            known = self.holdings.tags.get(event.reference)
            if known and known.digest == event.digest:
                return
        self.holdings.apply(event)
        if self._watch:
            self._watch.events.put_nowait(event)

    @property
    def available(self) -> bool:
        return self._available

    @available.setter
    def available(self, available: bool) -> None:
        self._available = available
        if self._watch and not available:
            self._watch.events.put_nowait(None)

    @property
    def watched(self) -> bool:
        return self._watch is not None

    @asynccontextmanager
    async def watch(self) -> AsyncIterator["MemoryWatch"]:
        self._check()
        self._watch = MemoryWatch(StoreContent(dict(self.holdings.blobs), dict(self.holdings.tags)))
        try:
            yield self._watch
        finally:
            self._watch = None

    async def downloading(self) -> Sequence[Digest]:
        self._check()
        return list(self.on_the_way)

    def _check(self) -> None:
        if not self._available:
            raise StoreUnavailable("memory", "taken away")


class MemoryWatch:
    def __init__(self, content: StoreContent) -> None:
        self.content = content
        self.events: asyncio.Queue[StoreEvent | None] = asyncio.Queue()

    async def changes(self) -> AsyncIterator[StoreEvent]:
        while (event := await self.events.get()) is not None:
            yield event
        raise StoreUnavailable("memory", "taken away")
