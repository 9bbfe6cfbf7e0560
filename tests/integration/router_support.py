"""Routers, and simulated nodes that publish to them over a real nats-server, by bus contract v1."""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import nats
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import BaseModel

from heliograph_router import app
from heliograph_router.settings import Settings
from heliograph_shared import events, subjects
from heliograph_shared.digest import Digest
from heliograph_shared.events import ContentChanged, NodeHeartbeat, NodeLeft, NodeSnapshot, Tagged
from heliograph_shared.inventory import Inventory, RunningInventory
from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.waiting import eventually

LEASE_S = 3.0
HEARTBEAT_S = 0.5


async def _quiet(_: Exception) -> None:
    """Do not report errors that a test causes on purpose."""


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Client]:
    client = await nats.connect(
        url, error_cb=_quiet, max_reconnect_attempts=-1, reconnect_time_wait=0.1, ping_interval=10
    )
    try:
        yield client
    finally:
        await client.close()


@dataclass
class BusNode:
    """Acts like an indexer. Publishes nothing while `mute`; a snapshot has `per_chunk` digests in a chunk.

    `asked` are the incarnations in the snapshot requests received; `outbid` is true after the node, whose
    clock was set back, has started an incarnation higher than the one it was asked with. It does so while it
    is `young`.
    """

    client: Client
    name: str
    incarnation: int = field(default_factory=time.time_ns)
    sequence: int = 0
    content: dict[Digest, int] = field(default_factory=dict)
    tags: dict[str, Tagged] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=lambda: ["10.0.0.1:5000"])
    zone: str = ""
    downloading: list[Digest] = field(default_factory=list)
    mute: bool = False
    per_chunk: int = 1000
    asked: list[int] = field(default_factory=list)
    outbid: bool = False
    young: bool = True

    @property
    def inventory(self) -> Inventory:
        running = RunningInventory()
        for digest in self.content:
            running.add_digest(digest)
        for reference, tag in self.tags.items():
            running.add_tag(reference, tag.digest)
        return running.freeze()

    async def change(
        self,
        *,
        add: Iterable[Digest] = (),
        remove: Iterable[Digest] = (),
        tag: dict[str, Digest] | None = None,
        size_bytes: int = 100,
        lost: bool = False,
        trace: dict[str, str] | None = None,
    ) -> None:
        """Make one change and publish it as a delta, unless `lost`."""
        added, removed = dict.fromkeys(add, size_bytes), list(remove)
        tagged = {name: Tagged(digest=digest, tagged_at_ms=1) for name, digest in (tag or {}).items()}
        self.content.update(added)
        for digest in removed:
            self.content.pop(digest, None)
        self.tags.update(tagged)
        self.sequence += 1
        if not lost:
            message = ContentChanged(**self._at, added=added, removed=removed, tagged=tagged)
            await self._publish(subjects.content(self.name), message, trace or {})

    async def heartbeat(self) -> None:
        message = NodeHeartbeat(
            **self._at, addresses=self.addresses, zone=self.zone, downloading=self.downloading
        )
        await self._publish(subjects.node(self.name), message)

    async def leave(self) -> None:
        message = NodeLeft(node=self.name, incarnation=self.incarnation, sequence=self.sequence)
        await self._publish(subjects.node(self.name), message)
        self.mute = True

    async def restart(self, content: Iterable[Digest], *, ahead_s: float = 0) -> None:
        """Start a new incarnation, whose first delta lists everything the node holds."""
        self.incarnation = time.time_ns() + int(ahead_s * 1e9)
        self.mute = self.outbid = False
        await self._begin(content)

    async def _begin(self, content: Iterable[Digest]) -> None:
        self.sequence, self.content, self.tags = 0, {}, {}
        await self.change(add=content)
        await self.heartbeat()

    async def live(self) -> None:
        """Send heartbeats, and answer snapshot requests and hellos."""
        await self.client.subscribe(subjects.snapshot(self.name), cb=self._answer)
        await self.client.subscribe(subjects.HELLO, cb=self._greet)
        while True:
            await self.heartbeat()
            await asyncio.sleep(HEARTBEAT_S)

    @property
    def _at(self) -> dict[str, Any]:
        return {
            "node": self.name,
            "incarnation": self.incarnation,
            "sequence": self.sequence,
            "inventory": self.inventory,
        }

    async def _greet(self, message: Msg) -> None:
        events.decode(events.RouterStarted, message.data)
        await self.heartbeat()

    async def _answer(self, message: Msg) -> None:
        known = events.decode(events.SnapshotRequest, message.data).incarnation
        self.asked.append(known)
        if self.young and known > self.incarnation:  # like an indexer whose clock was set back
            self.incarnation, self.outbid = known + 1, True
            await self._begin(list(self.content))
        digests = list(self.content)
        parts = [digests[at : at + self.per_chunk] for at in range(0, len(digests), self.per_chunk)] or [[]]
        for number, part in enumerate(parts):
            answer = NodeSnapshot(
                **self._at,
                chunk=number,
                chunks=len(parts),
                content={digest: self.content[digest] for digest in part},
                tags=self.tags if number == 0 else {},
                addresses=self.addresses,
                zone=self.zone,
            )
            await self._publish(message.reply, answer)

    async def _publish(self, subject: str, message: BaseModel, trace: dict[str, str] | None = None) -> None:
        if self.mute or not self.client.is_connected:
            return
        headers = events.headers(
            type(message), source=f"/nodes/{self.name}", event_id=uuid.uuid4().hex, trace=trace or {}
        )
        await self.client.publish(subject, events.encode(message), headers=headers)


@asynccontextmanager
async def living_node(url: str, name: str, **more: Any) -> AsyncIterator[BusNode]:
    async with connect(url) as client:
        node = BusNode(client, name, **more)
        life = asyncio.create_task(node.live())
        try:
            yield node
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)


class RouterClient:
    """A client of the resolver API and the admin port of a router on 127.0.0.1."""

    def __init__(self, port: int, admin_port: int) -> None:
        self.port, self.admin = port, f"http://127.0.0.1:{admin_port}"
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.api = ResolverStub(self.channel)
        self._health = health_pb2_grpc.HealthStub(self.channel)

    async def ask(self, *keys: str, **more: Any) -> list[Any]:
        request = pb.ResolveRequest(
            keys=[
                pb.Key(digest=key) if key.startswith("sha256:") else pb.Key(tag_reference=key) for key in keys
            ],
            **more,
        )
        return list((await self.api.Resolve(request, timeout=10)).resolutions)

    async def wait(self, digest: str, node: str, wait_ms: int = 10_000) -> Any:
        """The answer to a node that may wait."""
        (found,) = await self.ask(digest, node=node, wait_ms=wait_ms)
        return found

    async def node_names(self) -> set[str]:
        listed = await self.api.ListNodes(pb.ListNodesRequest(), timeout=5)
        return {node.node for node in listed.nodes}

    async def holders(self, digest: str) -> set[str]:
        (found,) = await self.ask(digest, max_peers=100)
        return {peer.node for peer in found.peers}

    async def knows(self, digest: str, *nodes: str, within: float = 10) -> None:
        """Wait until the router names exactly these nodes as holders of the digest."""

        async def all_named() -> bool:
            return await self.holders(digest) == set(nodes)

        await eventually(all_named, within, f"not exactly {nodes}", interval=0.03)

    async def health(self, service: str = "") -> int:
        request = health_pb2.HealthCheckRequest(service=service)
        return int((await self._health.Check(request, timeout=5)).status)

    async def readyz(self) -> tuple[int, str]:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{self.admin}/readyz")
            return answer.status_code, answer.text

    async def metrics(self) -> dict[str, float]:
        """Values by sample, such as `name{label="value"}`."""
        async with httpx.AsyncClient(trust_env=False) as http:
            lines = (await http.get(f"{self.admin}/metrics")).text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}

    async def listening(self, check: Callable[[], None] = lambda: None) -> None:
        """Wait until both ports answer. `check` raises if that will not happen."""

        async def answers() -> bool:
            check()
            try:
                await self.readyz()
                await self.health()
            except (httpx.TransportError, grpc.aio.AioRpcError):
                return False
            return True

        await eventually(answers, 20, "it does not listen", interval=0.05)

    async def ready(self) -> None:
        async def is_ready() -> bool:
            return (await self.readyz())[0] == 200

        await eventually(is_ready, 20, "it does not become ready", interval=0.05)


class RouterProcess(RouterClient):
    """The console script in a process of its own, configured by environment variables."""

    def __init__(self, directory: Path, nats_url: str, **environment: str) -> None:
        port, admin_port = free_port(), free_port()
        super().__init__(port, admin_port)
        self.process = Process(
            "router",
            [Path(sys.executable).parent / "heliograph-router"],
            directory / f"router-{port}.log",
            environment={
                "HELIOGRAPH_NATS_URL": nats_url,
                "HELIOGRAPH_ROUTER_LISTEN": f"127.0.0.1:{port}",
                "HELIOGRAPH_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
                "HELIOGRAPH_LEASE_S": str(LEASE_S),
                **environment,
            },
        )

    @property
    def log(self) -> str:
        return self.process.tail(1 << 20)

    async def start(self) -> None:
        self.process.start()
        await self.listening(self.process.check)


@asynccontextmanager
async def router_process(directory: Path, nats_url: str, **environment: str) -> AsyncIterator[RouterProcess]:
    """A router that is not started yet; it is stopped at the end."""
    router = RouterProcess(directory, nats_url, **environment)
    async with router.channel:
        try:
            yield router
        finally:
            await router.process.stop()


@asynccontextmanager
async def serving_router(nats_url: str) -> AsyncIterator[RouterClient]:
    """The whole service within this process, which starts faster."""
    port, admin_port, stop = free_port(), free_port(), asyncio.Event()
    settings = Settings.model_validate(
        {
            "nats_url": nats_url,
            "router_listen": f"127.0.0.1:{port}",
            "admin_listen": f"127.0.0.1:{admin_port}",
            "lease_s": LEASE_S,
        }
    )
    router = RouterClient(port, admin_port)
    async with router.channel:
        serving = asyncio.create_task(app.serve(settings, stop))
        try:
            await router.listening(lambda: serving.result() if serving.done() else None)
            yield router
        finally:
            stop.set()
            await serving


def capital(reference: str) -> str:
    """With capitals in the registry, as a registry before 0.5 passes them on."""
    registry, _, rest = reference.partition("/")
    return f"{registry.upper()}/{rest}"
