"""The whole system as its users run it: real processes, configured by their environment."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx

from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub
from tests.support.containerd import Containerd
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.waiting import eventually

SCRIPTS = Path(sys.executable).parent
LEASE_S, HEARTBEAT_S = 3, 1
FIRST_BYTE_TIMEOUT_MS = 5000
"""Generous: on a busy machine a 404 would fail the pull in tests that have stopped the upstream."""


@dataclass
class Node:
    """One node: an indexer and a registry with the same store."""

    name: str
    indexer: Process
    registry: Process
    port: int
    admin: str
    indexer_admin: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass
class Router:
    """One router replica."""

    process: Process
    port: int
    admin: str


class System:
    """A bus, routers and nodes. All processes end with the test, and log to `directory`."""

    def __init__(
        self,
        directory: Path,
        nats: NatsServer,
        environment: dict[str, str],
        *,
        replicas: int,
        of_services: Mapping[str, Mapping[str, str]],
        credentials: grpc.ChannelCredentials | None,
    ) -> None:
        self.nats, self.of_services, self._credentials = nats, dict(of_services), credentials
        self.nodes: dict[str, Node] = {}
        self._directory, self._environment = directory, environment
        self.routers = [self._router(number) for number in range(replicas)]

    @property
    def router(self) -> Process:
        """The first replica; `resolve` asks it."""
        return self.routers[0].process

    async def add_node(
        self,
        name: str,
        content_path: Path,
        containerd: Containerd | None = None,
        environment: dict[str, str] | None = None,
    ) -> Node:
        """Start a node's indexer and registry, and wait until both are ready.

        `content_path` is an OCI layout, or the content store of `containerd`; `environment` is added to
        that of the registry.
        """
        port, admin, indexer_admin = free_port(), free_port(), free_port()
        routers = ",".join(f"127.0.0.1:{router.port}" for router in self.routers)
        store = (
            {"HELIOGRAPH_CONTAINERD_SOCKET": str(containerd.socket)}
            if containerd
            else {"HELIOGRAPH_CONTENT_STORE": "oci-layout", "HELIOGRAPH_CONTENT_PATH": str(content_path)}
        )
        shared = {
            "HELIOGRAPH_NODE_NAME": name,
            "HELIOGRAPH_STATE_PATH": str(self._directory / name / "node.json"),
        }
        indexer = self._process(
            f"{name}-indexer",
            "indexer",
            {
                **shared,
                **store,
                "HELIOGRAPH_ADVERTISE": f"127.0.0.1:{port}",
                "HELIOGRAPH_ADMIN_LISTEN": f"127.0.0.1:{indexer_admin}",
                "HELIOGRAPH_REGISTRY_READY_URL": f"http://127.0.0.1:{admin}/readyz",
            },
        )
        registry = self._process(
            f"{name}-registry",
            "registry",
            {
                **shared,
                "HELIOGRAPH_CONTENT_PATH": str(content_path),
                "HELIOGRAPH_REGISTRY_LISTEN": f"127.0.0.1:{port}",
                "HELIOGRAPH_ADMIN_LISTEN": f"127.0.0.1:{admin}",
                "HELIOGRAPH_ROUTER_TARGET": f"ipv4:{routers}",
                "HELIOGRAPH_FIRST_BYTE_TIMEOUT_MS": str(FIRST_BYTE_TIMEOUT_MS),
                "HELIOGRAPH_INDEXER_URL": f"http://127.0.0.1:{indexer_admin}",
                "HELIOGRAPH_CONFIGURATOR_URL": "",
                **(environment or {}),
            },
        )
        node = Node(
            name, indexer, registry, port, f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{indexer_admin}"
        )
        self.nodes[name] = node
        await asyncio.gather(self._started(registry, node.admin), self._started(indexer, node.indexer_admin))
        return node

    async def start_registry(self, node: Node) -> None:
        """Start a node's registry again after it ended, and wait until it is ready."""
        await self._started(node.registry, node.admin)

    async def start_router(self, number: int | None = None) -> None:
        """Start one replica, all by default, and wait until it is ready."""
        chosen = self.routers if number is None else [self.routers[number]]
        await asyncio.gather(*(self._started(one.process, one.admin) for one in chosen))

    async def resolve(self, *keys: str, node: str = "") -> list[pb.Resolution]:
        """The router's answer to `node` (by default no node) for digests and tag references."""
        asked = [
            pb.Key(digest=key) if key.startswith("sha256:") else pb.Key(tag_reference=key) for key in keys
        ]
        address = f"127.0.0.1:{self.routers[0].port}"
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(address)
        else:
            channel = grpc.aio.secure_channel(address, self._credentials)
        async with channel:
            request = pb.ResolveRequest(keys=asked, max_peers=100, node=node)
            answer = await ResolverStub(channel).Resolve(request, timeout=5)
            return list(answer.resolutions)

    async def holders(self, *keys: str) -> list[set[str]]:
        return [{peer.node for peer in found.peers} for found in await self.resolve(*keys)]

    async def announced(self, node: str, *keys: str, within: float = 20) -> None:
        """Wait until the router names `node` for every key."""

        async def all_known() -> bool:
            return all(node in holders for holders in await self.holders(*keys))

        await eventually(all_known, within, f"the router does not know {node} for {keys}", interval=0.05)

    async def close(self) -> None:
        """Stop everything at once, which is quicker than one after the other."""
        nodes = self.nodes.values()
        routers = (router.process for router in self.routers)
        processes = [*routers, *(p for node in nodes for p in (node.indexer, node.registry))]
        await asyncio.gather(*(process.stop() for process in processes))

    def _router(self, number: int) -> Router:
        port, admin = free_port(), free_port()
        environment = {
            "HELIOGRAPH_ROUTER_LISTEN": f"127.0.0.1:{port}",
            "HELIOGRAPH_ADMIN_LISTEN": f"127.0.0.1:{admin}",
        }
        process = self._process(f"router-{number}", "router", environment)
        return Router(process, port, f"http://127.0.0.1:{admin}")

    def _process(self, name: str, service: str, environment: dict[str, str]) -> Process:
        return Process(
            name,
            [SCRIPTS / f"heliograph-{service}"],
            self._directory / f"{name}.log",
            environment={
                "HELIOGRAPH_NATS_URL": self.nats.url,
                "HELIOGRAPH_LEASE_S": str(LEASE_S),
                "HELIOGRAPH_HEARTBEAT_S": str(HEARTBEAT_S),
                **self._environment,
                **self.of_services.get(service, {}),
                **environment,
            },
        )

    async def _started(self, process: Process, admin: str) -> None:
        if not process.running:
            process.start()
        async with httpx.AsyncClient(timeout=2, trust_env=False) as http:

            async def ready() -> bool:
                process.check()
                try:
                    return (await http.get(f"{admin}/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(
                ready, 30, lambda: f"{process.name} is not ready:\n{process.tail()}", interval=0.05
            )


@asynccontextmanager
async def running_system(
    directory: Path,
    nats: NatsServer,
    environment: dict[str, str] | None = None,
    *,
    replicas: int = 1,
    of_services: Mapping[str, Mapping[str, str]] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
) -> AsyncIterator[System]:
    """`environment` is for all services, `of_services` for single ones; `credentials` are for the routers."""
    system = System(
        directory,
        nats,
        environment or {},
        replicas=replicas,
        of_services=of_services or {},
        credentials=credentials,
    )
    try:
        yield system
    finally:
        await system.close()
