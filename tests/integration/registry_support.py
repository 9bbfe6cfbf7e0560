"""Registries in the test's own process: the whole service on real sockets, configured by its settings."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from heliograph_registry import app
from heliograph_registry.settings import Settings
from heliograph_shared.digest import Digest, digest_of, hex_of
from heliograph_shared.node_state import NodeState, write_node_state
from tests.support.bad_peer import BadPeer, Exchange
from tests.support.ports import free_port
from tests.support.resolver import KnownContent
from tests.support.waiting import eventually

FIRST_BYTE_TIMEOUT_MS = 10_000
"""Generous: on a busy machine a 404 after the product's default would fail tests that are not about time."""
IMPATIENT = {"first_byte_timeout_ms": 300}
"""For a test of what happens when the limit is reached."""


@dataclass
class Registry:
    name: str
    directory: Path
    address: str
    admin: str
    http: httpx.AsyncClient
    stop: asyncio.Event

    def put(self, data: bytes) -> Digest:
        digest = digest_of(data)
        path = self.directory / "blobs" / "sha256" / hex_of(digest)
        path.write_bytes(data)
        return digest

    def write_state(self, tags: dict[str, Digest]) -> None:
        """Write the state file as the node's indexer would."""
        state = NodeState(node=self.name, addresses=[self.address], tags=tags)
        write_node_state(self.directory / "node.json", state)


@asynccontextmanager
async def serve_registry(
    directory: Path, name: str, router_port: int, **more: object
) -> AsyncIterator[Registry]:
    (directory / "blobs" / "sha256").mkdir(parents=True)
    data, admin = free_port(), free_port()
    settings = Settings.model_validate(
        {
            "node_name": name,
            "content_path": directory,
            "state_path": directory / "node.json",
            "registry_listen": f"127.0.0.1:{data}",
            "admin_listen": f"127.0.0.1:{admin}",
            "router_target": f"dns:///127.0.0.1:{router_port}",
            "first_byte_timeout_ms": FIRST_BYTE_TIMEOUT_MS,
            **more,
        }
    )
    trusted: ssl.SSLContext | bool = False
    if settings.tls_cert_file:
        trusted = ssl.create_default_context(cafile=settings.tls_ca_file)
        trusted.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    stop = asyncio.Event()
    serving = asyncio.create_task(app.serve(settings, stop))
    base = f"{'https' if trusted else 'http'}://127.0.0.1:{data}"
    async with httpx.AsyncClient(base_url=base, timeout=60, trust_env=False, verify=trusted) as http:
        registry = Registry(name, directory, f"127.0.0.1:{data}", f"http://127.0.0.1:{admin}", http, stop)

        async def ready() -> bool:
            if serving.done():
                serving.result()
            try:
                return (await http.get(f"{registry.admin}/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await eventually(ready)
            yield registry
        finally:
            await http.aclose()  # over TLS a server waits until its clients close, too
            stop.set()
            await serving


MANIFEST = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()
MANIFEST_DIGEST = digest_of(MANIFEST)
BLOB = bytes(range(256)) * 12_345
BLOB_DIGEST = digest_of(BLOB)
MANIFEST_PATH = f"/v2/app/manifests/{MANIFEST_DIGEST}?ns=reg.test"
BLOB_PATH = f"/v2/app/blobs/{BLOB_DIGEST}?ns=reg.test"


class Cluster:
    """Registries, and one router that answers from `known`."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.known, self.router_port = KnownContent(), free_port()
        self._directory, self._stack = directory, stack
        self._registries: list[Registry] = []

    async def registry(self, name: str, **settings: object) -> Registry:
        serving = serve_registry(self._directory / name, name, self.router_port, **settings)
        registry = await self._stack.enter_async_context(serving)
        self._registries.append(registry)
        return registry

    def stop(self) -> None:
        """Stop all registries at once, which is quicker than one after the other."""
        for registry in self._registries:
            registry.stop.set()

    async def peer(self, behaviour: Callable[[Exchange], object], name: str, data: bytes = BLOB) -> BadPeer:
        peer = await self._stack.enter_async_context(BadPeer(behaviour).serve())  # type: ignore[arg-type]
        self.known.holds(name, peer.address, digest_of(data), len(data))
        return peer

    def holds(self, registry: Registry, data: bytes) -> None:
        self.known.holds(registry.name, registry.address, registry.put(data), len(data))
