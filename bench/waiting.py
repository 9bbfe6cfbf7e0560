"""Eight nodes pull the same new image at once, over a shared link to upstream."""

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.report import Result, ratios, result
from bench.servers import MIB
from tests.support.containerd import Containerd
from tests.support.images import make_image, push
from tests.support.machines import release
from tests.support.nats import NatsServer
from tests.support.system import Node, System, running_system
from tests.support.uplink import Uplink
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

NODES = 8
LAYERS = [16 * MIB] * 4
RATE = 40 * MIB
WAIT_MS = {"on": 25_000, "off": 0}
# The router's defaults; the tests' shorter lease would end while two cores serve eight nodes.
PATIENT = {"HELIOGRAPH_LEASE_S": "30", "HELIOGRAPH_HEARTBEAT_S": "10"}


@dataclass
class Stampede:
    system: System
    upstream: Upstream
    uplink: Uplink
    nodes: Sequence[Node]
    daemons: Sequence[Containerd]
    directory: Path

    async def set_waiting(self, wait_ms: int) -> None:
        """Restart the registries with this setting."""
        await asyncio.gather(*(node.registry.stop() for node in self.nodes))
        for node in self.nodes:
            node.registry.environment["HELIOGRAPH_WAIT_MS"] = str(wait_ms)
        await asyncio.gather(*(self.system.start_registry(node) for node in self.nodes))

    async def pull(self, number: int) -> tuple[float, float]:
        """All nodes pull a new image. Returns seconds until all have it, and upstream bytes / image size."""
        folder = self.directory / f"image-{number}"
        image = make_image(folder, LAYERS, seed=number)
        await push(image, self.upstream.url, "team/app", f"v{number}")
        shutil.rmtree(folder)
        self.uplink.sent_bytes, began = 0, time.perf_counter()
        reference = f"reg.test/team/app:v{number}"
        await asyncio.gather(*(daemon.cri.pull(reference, within=300) for daemon in self.daemons))
        took_s = time.perf_counter() - began
        share = self.uplink.sent_bytes / sum(blob.size_bytes for blob in image.pulled())
        await asyncio.gather(*(daemon.cri.remove(reference) for daemon in self.daemons))
        await eventually(self._empty, 60, "content is left after a removal")
        return took_s, share

    def _empty(self) -> bool:
        return not any(daemon.blobs() for daemon in self.daemons)


@asynccontextmanager
async def stampede(directory: Path, replicas: int) -> AsyncIterator[Stampede]:
    async with AsyncExitStack() as stack:
        start = stack.enter_async_context
        nats = await start(NatsServer(directory))
        system = await start(running_system(directory, nats, PATIENT, replicas=replicas))
        await system.start_router()
        upstream = await start(Upstream(directory))
        uplink = await start(Uplink(upstream.port, RATE).open())
        daemons, nodes = [], []
        for number in range(NODES):
            short = Path(tempfile.mkdtemp(prefix="hb-", dir="/tmp"))  # socket paths must be short
            daemon = Containerd(release("2"), short, log=directory / f"containerd-{number}.log")
            daemons.append(await start(daemon))
            nodes.append(await system.add_node(f"node-{number}", daemon.content_path, daemon))
            daemon.mirror("reg.test", nodes[-1].url, server=uplink.url)
        yield Stampede(system, upstream, uplink, nodes, daemons, directory)


async def waiting(replicas: int, directory: Path, runs: int) -> list[Result]:
    """With and without waiting, in random order; each round pulls a new 64 MiB image at 40 MiB/s for all."""
    row = f"waiting-{replicas}"
    seconds: dict[str, list[float]] = {"on": [], "off": []}
    shares: dict[str, list[float]] = {"on": [], "off": []}
    number = 0
    async with stampede(directory, replicas) as pulls:
        for _ in range(max(1, runs // 3)):
            for setting in random.sample(list(WAIT_MS), 2):
                await pulls.set_waiting(WAIT_MS[setting])
                number += 1
                took_s, share = await pulls.pull(number)
                seconds[setting].append(took_s)
                shares[setting].append(share)
    return [
        result(f"{row} upstream bytes / image size", shares["on"], "ratio", "<= 3.5"),
        result(f"{row} upstream bytes / image size, off", shares["off"], "ratio"),
        ratios(f"{row} seconds, on / off", seconds["on"], seconds["off"], "<= 1.1"),
        result(f"{row} seconds, on", seconds["on"], "s"),
        result(f"{row} seconds, off", seconds["off"], "s"),
    ]
