"""A reader of bus contract v1: records the messages of one node, and requests snapshots as a router does."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import BaseModel

from heliograph_shared import bus, events, subjects
from heliograph_shared.events import (
    ContentChanged,
    NodeHeartbeat,
    NodeLeft,
    NodeSnapshot,
    RouterStarted,
    SnapshotRequest,
)
from tests.unit.indexer.replica import Replica

M = TypeVar("M", bound=BaseModel)

KINDS: Mapping[str, type[ContentChanged | NodeHeartbeat | NodeLeft]] = {
    events.type_of(kind): kind for kind in (ContentChanged, NodeHeartbeat, NodeLeft)
}


class Listener:
    """`replica` follows every change received; `heard` has all messages with their times of arrival."""

    def __init__(self, client: Client, node: str) -> None:
        self._client, self._node = client, node
        self.replica = Replica()
        self.heard: list[tuple[float, Mapping[str, str], BaseModel]] = []
        self.largest_bytes = 0
        self.failure: AssertionError | None = None

    async def record(self, message: Msg) -> None:
        carried = message.headers or {}
        decoded = events.decode(KINDS[carried["ce-type"]], message.data)
        self.heard.append((time.time(), carried, decoded))
        self.largest_bytes = max(self.largest_bytes, len(message.data))
        if isinstance(decoded, ContentChanged):
            try:
                self.replica.apply(decoded)
            except AssertionError as error:
                self.failure = error

    def all(self, kind: type[M]) -> list[M]:
        return [message for _, _, message in self.heard if isinstance(message, kind)]

    def last_heartbeat(self) -> NodeHeartbeat:
        """Asserts that there is one, so that `eventually` can wait for it."""
        heartbeats = self.all(NodeHeartbeat)
        assert heartbeats
        return heartbeats[-1]

    async def say_hello(self) -> None:
        await self._client.publish(subjects.HELLO, events.encode(RouterStarted(router="r")))
        await self._client.flush()

    async def ask(self, payload: bytes) -> asyncio.Queue[bytes]:
        """Send any bytes as a snapshot request; replies arrive in the queue."""
        replies: asyncio.Queue[bytes] = asyncio.Queue()
        inbox = self._client.new_inbox()

        async def take(message: Msg) -> None:
            replies.put_nowait(message.data)

        await self._client.subscribe(inbox, cb=take)
        await self._client.publish(subjects.snapshot(self._node), payload, reply=inbox)
        await self._client.flush()
        return replies

    async def snapshot(self, incarnation: int = 0) -> list[NodeSnapshot]:
        replies = await self.ask(events.encode(SnapshotRequest(incarnation=incarnation)))
        chunks: list[NodeSnapshot] = []
        async with asyncio.timeout(10):
            while not chunks or len(chunks) < chunks[0].chunks:
                chunks.append(events.decode(NodeSnapshot, await replies.get()))
        return chunks


@asynccontextmanager
async def listening(url: str, node: str) -> AsyncIterator[Listener]:
    """Connected and subscribed when entered."""
    ready = asyncio.Event()

    async def subscribe(client: Client) -> None:
        listener._client = client
        for subject in (subjects.content(node), subjects.node(node)):
            await client.subscribe(subject, cb=listener.record)
        await client.flush()
        ready.set()

    async with bus.connect([url], name="listener", on_connect=subscribe) as client:
        listener = Listener(client, node)
        await ready.wait()
        yield listener
        if listener.failure:
            raise listener.failure
