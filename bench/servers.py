"""The servers to compare, each a real process on its own port, and the blobs that they serve."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.measure import fetch
from tests.support.machines import machines_path
from tests.support.ports import free_port
from tests.support.process import POD_USER, Process
from tests.support.resolver import KnownContent, serve_resolver
from tests.support.system import SCRIPTS
from tests.support.waiting import eventually

MIB, GIB = 1 << 20, 1 << 30
NGINX = """\
daemon off; worker_processes auto; pid {directory}/nginx.pid; error_log {directory}/nginx-error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2; fastcgi_temp_path {directory}/t3;
  uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;
  server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""
NGINX_SERVES = (
    "location ~ ^/v2/.*/(blobs|manifests)/sha256:(?<hex>[0-9a-f]+)$ {{ alias {content}/blobs/sha256/$hex; }}"
)
NGINX_RELAYS = (
    "location / {{ proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1; proxy_max_temp_file_size 0; }}"
)


def tools() -> Path:
    return machines_path().parent / "bench"


class BlobDirectory:
    """A content directory with blobs of given sizes; aliases of a blob are hard links to the same bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._blobs = directory / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self._names = 0

    def blob(self, size_bytes: int) -> str:
        """Write a blob of random bytes; returns the path of its URL, with the right digest."""
        piece, hashed = os.urandom(min(size_bytes, MIB)), hashlib.sha256()
        temporary = self.directory / "new"
        with temporary.open("wb") as file:
            for offset in range(0, size_bytes, len(piece)):
                part = piece[: size_bytes - offset]
                file.write(part)
                hashed.update(part)
        temporary.rename(self._blobs / hashed.hexdigest())
        return f"/v2/bench/blobs/sha256:{hashed.hexdigest()}"

    def manifest(self, size_bytes: int) -> str:
        """Write a manifest of that size; returns the path of its URL."""
        layers = [{"digest": f"sha256:{os.urandom(32).hex()}"} for _ in range(3)]
        document = {"schemaVersion": 2, "config": layers[0], "layers": layers, "filler": ""}
        document["filler"] = "x" * (size_bytes - len(json.dumps(document)))
        body = json.dumps(document).encode()
        digest = hashlib.sha256(body).hexdigest()
        (self._blobs / digest).write_bytes(body)
        return f"/v2/bench/manifests/sha256:{digest}"

    def alias(self, path: str) -> str:
        """Another name for the same bytes, so that they are relayed like a blob that is requested first."""
        self._names += 1
        digest = hashlib.sha256(f"{path} {self._names}".encode()).hexdigest()
        (self._blobs / digest).hardlink_to(self._blobs / path.rpartition(":")[2])
        return f"/v2/bench/blobs/sha256:{digest}"


class Bench:
    """Starts servers in `directory`; all stop with `benching`."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.directory, self._stack = directory, stack
        self.known, self.router_port = KnownContent(), free_port()

    def content(self, name: str) -> BlobDirectory:
        return BlobDirectory(self.directory / name)

    async def registry(self, name: str, content: BlobDirectory, **environment: str) -> tuple[int, Process]:
        """heliograph-registry with default settings, as its pods' user; returns its port and process."""
        port = free_port()
        process = self._process(
            name,
            [str(SCRIPTS / "heliograph-registry")],
            {
                "HELIOGRAPH_NODE_NAME": name,
                "HELIOGRAPH_CONTENT_PATH": str(content.directory),
                "HELIOGRAPH_STATE_PATH": str(self.directory / f"{name}.json"),
                "HELIOGRAPH_REGISTRY_LISTEN": f"127.0.0.1:{port}",
                "HELIOGRAPH_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
                "HELIOGRAPH_ROUTER_TARGET": f"dns:///127.0.0.1:{self.router_port}",
                **environment,
            },
            POD_USER,
        )
        return port, await self._started(process, port)

    async def yardstick(self, mode: str, of: str) -> tuple[int, Process]:
        """The Go baseline, as `serve` of a content directory or as `relay` of an origin."""
        port = free_port()
        command = [str(tools() / "yardstick"), mode, f"127.0.0.1:{port}", of]
        return port, await self._started(self._process(f"go-{mode}", command), port)

    async def nginx(self, content: BlobDirectory) -> tuple[int, list[int]]:
        """nginx; returns its port and the process IDs of its workers."""
        return await self._nginx(NGINX_SERVES.format(content=content.directory))

    async def nginx_relay(self, origin: int) -> tuple[int, list[int]]:
        return await self._nginx(NGINX_RELAYS.format(port=origin))

    async def _nginx(self, location: str) -> tuple[int, list[int]]:
        port, directory = free_port(), self.directory / "nginx"
        directory.mkdir()
        config = directory / "nginx.conf"
        config.write_text(NGINX.format(directory=directory, port=port, location=location))
        # Otherwise it would drop root, and only root can read the benchmark's directory.
        command = [str(tools() / "nginx"), "-p", str(directory), "-c", str(config), "-g", "user root;"]
        process = await self._started(self._process("nginx", command), port)
        return port, children(process.pid)

    async def resolver(self) -> None:
        """The tests' fake router, which knows what `holds` adds and answers over real gRPC from here."""
        await self._stack.enter_async_context(serve_resolver(self.known, self.router_port))

    def holds(self, port: int, path: str, size_bytes: int) -> None:
        self.known.holds("seed", f"127.0.0.1:{port}", path.rpartition("/")[2], size_bytes)

    def _process(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str] | None = None,
        user: int | None = None,
    ) -> Process:
        log = self.directory / f"{name}.log"
        return Process(name, command, log, environment=environment or {}, user=user)

    async def _started(self, process: Process, port: int) -> Process:
        process.start()
        self._stack.push_async_callback(process.stop)

        async def listens() -> bool:
            process.check()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await eventually(listens, 30, lambda: f"{process.name} does not listen: {process.tail()}")
        return process


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@asynccontextmanager
async def benching(directory: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield Bench(directory, stack)


async def check(ports: list[int], path: str) -> None:
    """Check that every server returns the right bytes, before any is measured."""
    for port in ports:
        await asyncio.to_thread(fetch, port, path, check=True)
