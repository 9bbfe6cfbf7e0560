"""An indexer in the test's own process, on a real bus, around a store in memory."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from heliograph_indexer.adapters.metrics import IndexerMetrics
from heliograph_indexer.adapters.nats import NatsAnnouncer
from heliograph_indexer.adapters.state_file import NodeStateFile
from heliograph_indexer.service import Indexer
from heliograph_shared.runtime import background
from tests.unit.indexer.memory_store import MemoryStore

NODE = "worker.1 %"
ADDRESS = "10.0.0.1:5000"
HEARTBEAT_S = 0.5


class Node:
    """An indexer around a store in memory."""

    def __init__(self, directory: Path, incarnation: int | None = None) -> None:
        self.store = MemoryStore()
        self.bus = NatsAnnouncer(NODE, "zone-a", IndexerMetrics())
        self.state_path = directory / "state" / "node.json"
        self.indexer = Indexer(
            store=self.store,
            bus=self.bus,
            state_file=NodeStateFile(self.state_path, NODE),
            admits_tag=lambda reference: not reference.startswith("secret.test/"),
            incarnation=time.time_ns() if incarnation is None else incarnation,
            heartbeat_s=HEARTBEAT_S,
        )

    @asynccontextmanager
    async def running(self, url: str) -> AsyncIterator[None]:
        self.indexer.advertise((ADDRESS,))
        async with self.bus.open(
            [url],
            on_connected=self.indexer.bus_connected,
            on_hello=self.indexer.router_started,
            on_snapshot=self.indexer.snapshot,
        ):
            async with background(self.indexer.run()):
                yield
            await self.indexer.leave()
