"""Registries in the test's own process: the whole service on real sockets, driven by its settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from heliograph_registry import app
from heliograph_registry.settings import Settings
from heliograph_shared.digest import Digest, digest_of, hex_of
from heliograph_shared.node_state import NodeState, write_node_state
from tests.support.ports import free_port
from tests.support.waiting import eventually


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

    def tell(self, tags: dict[str, Digest]) -> None:
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
            **more,
        }
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(app.serve(settings, stop))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{data}", timeout=20, trust_env=False) as http:
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
            stop.set()
            await serving
