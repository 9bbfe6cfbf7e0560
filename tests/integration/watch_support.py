"""Runs `heliograph-configurator watch`, and the registry whose readiness it follows, as real processes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.system import SCRIPTS
from tests.support.waiting import eventually

PATIENCE_S = 30.0


@dataclass
class Watching:
    """A process that is configured by its environment. `certs` is its certs.d."""

    process: Process
    certs: Path
    admin: str

    async def start(self) -> None:
        """Return once `/livez` answers."""
        self.process.start()
        await eventually(lambda: self.answers("/livez", 200), PATIENCE_S, self.process.tail)

    async def ready(self) -> None:
        await eventually(lambda: self.answers("/readyz", 200), PATIENCE_S, self.process.tail)

    async def unready(self, reason: str) -> None:
        """Wait until `/readyz` gives this reason."""
        await eventually(lambda: self.answers("/readyz", 503, reason), PATIENCE_S, self.process.tail)

    async def answers(self, path: str, status: int, text: str = "") -> bool:
        self.process.check()
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                answer = await client.get(f"{self.admin}{path}")
        except httpx.HTTPError:
            return False
        return answer.status_code == status and text in answer.text

    def hosts(self, folder: str = "_default") -> str:
        """The text of the folder's `hosts.toml`, empty if there is none."""
        try:
            return (self.certs / folder / "hosts.toml").read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    async def names(self, text: str, folder: str = "_default") -> None:
        """Wait until the folder's `hosts.toml` contains the text."""
        await eventually(lambda: text in self.hosts(folder), PATIENCE_S, self.process.tail)


@asynccontextmanager
async def watching(directory: Path, certs: Path, **settings: object) -> AsyncIterator[Watching]:
    """Not started yet; stopped after the body."""
    port = free_port()
    environment = {
        "HELIOGRAPH_REGISTRY_CONFIG_PATH": str(certs),
        "HELIOGRAPH_ADMIN_LISTEN": f"127.0.0.1:{port}",
        **{f"HELIOGRAPH_{name.upper()}": str(value) for name, value in settings.items()},
    }
    command: list[str | Path] = [SCRIPTS / "heliograph-configurator", "watch"]
    process = Process("configurator", command, directory / "configurator.log", environment=environment)
    try:
        yield Watching(process, certs, f"http://127.0.0.1:{port}")
    finally:
        await process.stop()


@dataclass
class OneRegistry:
    """A node's registry without a router."""

    process: Process
    url: str
    ready_url: str


@asynccontextmanager
async def one_registry(directory: Path) -> AsyncIterator[OneRegistry]:
    """Not started yet; stopped after the body."""
    port, admin = free_port(), free_port()
    (directory / "content").mkdir()
    environment = {
        "HELIOGRAPH_NODE_NAME": "node",
        "HELIOGRAPH_CONTENT_PATH": str(directory / "content"),
        "HELIOGRAPH_STATE_PATH": str(directory / "node.json"),
        "HELIOGRAPH_REGISTRY_LISTEN": f"127.0.0.1:{port}",
        "HELIOGRAPH_ADMIN_LISTEN": f"127.0.0.1:{admin}",
        "HELIOGRAPH_ROUTER_TARGET": "ipv4:127.0.0.1:1",
    }
    log = directory / "registry.log"
    process = Process("registry", [SCRIPTS / "heliograph-registry"], log, environment=environment)
    try:
        yield OneRegistry(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}/readyz")
    finally:
        await process.stop()
