"""The peers that the contract of `Peers` holds for: in memory, behind HTTP, and a whole registry."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.peer_client.client import open_peers
from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag, Name
from heliograph_registry.mirror.ports import Peers
from heliograph_shared.digest import Digest
from tests.integration.registry_support import Registry, serve_registry
from tests.support.bad_peer import BadPeer, Exchange
from tests.support.fakes.peers import MemoryPeer, MemoryPeers
from tests.support.ports import free_port

STALL_S = 0.3
NAME = Name("reg.test", "app")


class PeerContent(Protocol):
    """Changes what the peer holds."""

    def put(self, data: bytes) -> Digest: ...

    def tag(self, tag: str, digest: Digest) -> None: ...


@dataclass
class OnePeer:
    """`peers` as the registry uses them, one `peer`, and a hand on what it holds."""

    peers: Peers
    peer: Peer
    content: PeerContent

    def blob(self, data: bytes) -> Blob:
        return Blob(NAME, self.content.put(data))

    def manifest(self, data: bytes) -> ManifestByDigest:
        return ManifestByDigest(NAME, self.content.put(data))

    def tag(self, tag: str, digest: Digest) -> ManifestByTag:
        self.content.tag(tag, digest)
        return ManifestByTag(NAME, tag)


@dataclass
class FaultyPeer(OnePeer):
    """A peer that fails as `registry` says."""

    registry: MemoryPeer


class _MemoryContent:
    def __init__(self, registry: MemoryPeer) -> None:
        self._registry = registry

    def put(self, data: bytes) -> Digest:
        return self._registry.put(data)

    def tag(self, tag: str, digest: Digest) -> None:
        self._registry.tags[f"{NAME.registry}/{NAME.repository}:{tag}"] = digest


class _RegistryContent:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def put(self, data: bytes) -> Digest:
        return self._registry.put(data)

    def tag(self, tag: str, digest: Digest) -> None:
        self._registry.write_state({f"{NAME.registry}/{NAME.repository}:{tag}": digest})


def http_peers(stall_s: float = STALL_S) -> AbstractAsyncContextManager[Peers]:
    return open_peers("here", stall_s=stall_s, slow_below=lambda _: 0.0, metrics=RegistryMetrics())


@asynccontextmanager
async def faulty_peer(kind: str, stall_s: float = STALL_S) -> AsyncIterator[FaultyPeer]:
    """`memory` or `http`."""
    async with AsyncExitStack() as stack:
        registry = MemoryPeer("a", f"127.0.0.1:{free_port()}")
        peers: Peers = MemoryPeers([registry], stall_s=stall_s)
        if kind == "http":
            served = await stack.enter_async_context(BadPeer(lambda asked: _answer(registry, asked)).serve())
            registry.address = served.address
            opened = http_peers(stall_s)
            peers = await stack.enter_async_context(opened)
        yield FaultyPeer(peers, registry.peer, _MemoryContent(registry), registry)


@asynccontextmanager
async def real_registry(directory: Path) -> AsyncIterator[OnePeer]:
    async with (
        serve_registry(directory / "a", "a", free_port()) as registry,
        http_peers() as peers,
    ):
        yield OnePeer(peers, Peer("a", (registry.address,)), _RegistryContent(registry))


async def _answer(registry: MemoryPeer, asked: Exchange) -> None:
    """One request, answered over HTTP with the content and the faults of a registry in memory."""
    method, path, _ = asked.head.split(" ", 2)
    path, _, registry_name = path.partition("?ns=")
    *_, repository, _kind, reference = path.split("/")
    if registry.hangs:
        await asyncio.Event().wait()
    await asyncio.sleep(registry.answers_after_s)
    digest = registry.tags.get(f"{registry_name}/{repository}:{reference}", reference)
    data = next((body for held, body in registry.content.items() if held == digest), None)
    if registry.busy or data is None:
        status = "503 Service Unavailable" if registry.busy else "404 Not Found"
        await asked.send(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        return
    start, end = asked.span(len(data))
    if start >= len(data) > 0:
        status, size = "416 Range Not Satisfiable", f"Content-Range: bytes */{len(data)}\r\n"
        await asked.send(f"HTTP/1.1 {status}\r\n{size}Content-Length: 0\r\n\r\n".encode())
        return
    await asked.begin(digest, len(data), last=min(end, len(data)) - 1)
    if method == "HEAD":
        return
    body = data[start:end]
    breaks_after = registry.breaks_after.pop(0) if registry.breaks_after else len(body)
    if not (registry.stalls or registry.pauses_s):
        await asked.send(body[:breaks_after])
        return
    await asked.send(body[: registry.piece_bytes])
    if registry.stalls:
        await asked.abandoned()
    await asyncio.sleep(registry.pauses_s)
    await asked.send(body[registry.piece_bytes :])
