"""A cluster for the end-to-end tests: nodes of every kind, and slow lines between them."""

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from heliograph_configurator import app as configurator
from heliograph_configurator.settings import Settings
from tests.support.containerd import Containerd
from tests.support.images import Image, make_image, push, write_layout
from tests.support.line import Line
from tests.support.process import Process
from tests.support.system import Node, System
from tests.support.upstream import Upstream

MIB = 1 << 20
REFERENCE = "reg.test/team/app:v1"

FAST_BYTES_S, CRAWL_BYTES_S = 300 * MIB, MIB
BRAKING_S = 0.25
"""How long a transfer would take to the place where it is held, at the speed it is slowed to."""


class Cluster:
    """Nodes of containerd, indexer and registry, each configured as its operator would."""

    def __init__(
        self,
        system: System,
        factory: Callable[..., Awaitable[Containerd]],
        upstream: Upstream,
        directory: Path,
    ) -> None:
        self.system, self.upstream = system, upstream
        self._factory, self._directory = factory, directory
        self.containerds: dict[str, Containerd] = {}

    async def add(
        self, name: str, series: str, *, registry: dict[str, str] | None = None, **options: Any
    ) -> tuple[Node, Containerd]:
        """A node that pulls and serves; `options` are those of its `Containerd`.

        `registry` is added to the environment of its registry.
        """
        daemon = await self._factory(series, **options)
        self.containerds[name] = daemon
        node = await self.system.add_node(name, daemon.content_path, daemon, registry)
        settings = Settings.model_validate(
            {
                "registry_config_path": daemon.certs_path,
                "mirrored_registries": "reg.test",
                "mirror_targets": node.url,
            }
        )
        assert configurator.apply(settings)  # as the command does, which takes longer to start
        self._point_upstream(daemon)
        return node, daemon

    async def add_holder(self, name: str, *images: tuple[Image, str], rotten: str = "") -> Node:
        """A node that only serves: an OCI layout that holds `images` under their references.

        Of the blob `rotten` one byte is wrong, here and nowhere else.
        """
        layout = self._directory / f"{name}-layout"
        for image, reference in images:
            write_layout(image, layout, reference)
        if rotten:
            _rot(layout / "blobs" / rotten.replace(":", "/"))
        node = await self.system.add_node(name, layout)
        for image, reference in images:
            await self.system.announced(name, reference, *(blob.digest for blob in image.pulled()))
        return node

    async def add_all(self, *series: str, **options: Any) -> list[tuple[Node, Containerd]]:
        """Nodes "0", "1", ... of these series, started side by side."""
        nodes = (self.add(str(number), each, **options) for number, each in enumerate(series))
        return await asyncio.gather(*nodes)

    def _point_upstream(self, daemon: Containerd) -> None:
        """reg.test is a made-up name: what `server` says must be where the test's upstream listens."""
        hosts = daemon.certs_path / "reg.test" / "hosts.toml"
        text = hosts.read_text()
        assert "https://reg.test" in text
        hosts.write_text(text.replace("https://reg.test", self.upstream.url))


def _rot(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.unlink()  # layouts share files by hard links
    path.write_bytes(body)
    os.utime(path, (0, 0))  # what was written just now would be hashed before it is announced


async def pushed(tmp_path: Path, upstream: Upstream, layers: Sequence[int], *, index: bool = True) -> Image:
    """A new image, `REFERENCE` at the upstream."""
    image = make_image(tmp_path / "image", layers, index=index)
    await push(image, upstream.url, "team/app", "v1")
    upstream.forget()
    return image


def line_of(node: Node) -> Line:
    """What the node's registry sends."""
    return Line(node.registry, node.port)


async def held_at(sent_bytes: int, nodes: Sequence[Node], pull: asyncio.Future[Any]) -> Node:
    """Wait until one of the nodes has sent so much to one client, stop its registry there, and return it.

    It is slowed down on the way, so that nothing depends on how quickly it is noticed. Call it before the
    pull has begun: a task that was just made.
    """
    before = {node.name: line_of(node).sent_bytes() for node in nodes}
    for node in nodes:
        line_of(node).limit(FAST_BYTES_S)

    def sent_by(node: Node) -> int:
        sent = line_of(node).sent_bytes()
        return max((count - before[node.name].get(port, 0) for port, count in sent.items()), default=0)

    while True:
        sent, node = max(((sent_by(node), node) for node in nodes), key=lambda pair: pair[0])
        if sent >= sent_bytes:
            node.registry.send(signal.SIGSTOP)
            return node
        assert not pull.done(), pull.exception() or "the pull is over, nothing could be held"
        rate = int((sent_bytes - sent) / BRAKING_S)
        line_of(node).limit(min(FAST_BYTES_S, max(CRAWL_BYTES_S, rate)))
        await asyncio.sleep(0.002)


def logged(process: Process, event: str) -> list[dict[str, Any]]:
    """The lines of the process's log that say so."""
    lines = (json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def holds(daemon: Containerd, image: Image) -> bool:
    """Whether all that a pull of the image brings lies in the node's store, with every byte right."""
    return all(_sha256(daemon.blob_path(blob.digest)) == blob.digest for blob in image.pulled())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
