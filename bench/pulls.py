"""Rows in which the whole system runs: bus, router, and an indexer and a registry per node."""

import asyncio
import os
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench import measure
from bench.report import Result, judged, ratios, result
from bench.servers import MIB, BlobDirectory
from tests.support.containerd import Containerd
from tests.support.images import make_image, push, write_layout
from tests.support.machines import release
from tests.support.nats import NatsServer
from tests.support.system import System, running_system
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

_ASKED = 300
_FORGET_S = 1.5
"""After this time a blob that arrived in the store is not hashed when it is requested again."""


@asynccontextmanager
async def system_in(directory: Path) -> AsyncIterator[System]:
    async with NatsServer(directory) as nats, running_system(directory, nats) as system:
        await system.start_router()
        yield system


async def time_to_first_byte(directory: Path, runs: int) -> list[Result]:
    """Request 300 blobs of 256 KiB, each first from its holder and then from a node that relays it.

    `runs` is not used.
    """
    del runs
    held, empty = BlobDirectory(directory / "seed"), BlobDirectory(directory / "node")
    for content in (held, empty):
        (content.directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (content.directory / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    paths = [held.blob(256 << 10) for _ in range(_ASKED)]
    async with system_in(directory) as system:
        seed = await system.add_node("seed", held.directory)
        node = await system.add_node("node", empty.directory)
        await system.announced("seed", *(path.rpartition("/")[2] for path in paths), within=60)
        direct, relayed = [], []
        for path in paths:
            direct.append(await asyncio.to_thread(measure.first_byte_s, seed.port, path) * 1000)
            relayed.append(await asyncio.to_thread(measure.first_byte_s, node.port, path) * 1000)
    added = sorted(late - early for early, late in zip(direct, relayed, strict=True))
    p99 = added[len(added) * 99 // 100]
    return [
        judged("ttfb added, p50", statistics.median(added), added[0], added[-1], _ASKED, "ms", "<= 8"),
        judged("ttfb added, p99", p99, added[0], added[-1], _ASKED, "ms", "<= 40"),
        result("ttfb direct", direct, "ms"),
        result("ttfb relayed", relayed, "ms"),
    ]


async def containerd_pull(directory: Path, runs: int) -> list[Result]:
    """Pull 1 GiB in four layers with containerd 2.1: from a peer, and directly from the docker-registry."""
    image = make_image(directory / "image", [256 * MIB] * 4, index=False)
    layout = directory / "peer"
    layout.mkdir()
    await asyncio.to_thread(write_layout, image, layout, "reg.test/team/app:v1")
    short = Path("/tmp") / f"bench-{os.getpid()}"  # socket paths must be short
    short.mkdir()
    async with (
        system_in(directory) as system,
        Upstream(directory) as upstream,
        Containerd(release("2"), short, log=directory / "containerd.log") as daemon,
    ):
        await push(image, upstream.url, "team/app", "v1")
        await system.add_node("peer", layout)
        node = await system.add_node("node", daemon.content_path, daemon)
        await system.announced("peer", *(blob.digest for blob in image.pulled()), within=120)
        daemon.mirror("reg.test", node.url)
        daemon.mirror("direct.test", server=upstream.url)
        took: dict[str, list[float]] = {"reg.test": [], "direct.test": []}
        for number in range(runs + 1):
            for name in random.sample(list(took), 2):
                seconds = await _pull(daemon, f"{name}/team/app:v1")
                if number:  # the first round only warms up
                    took[name].append(seconds)
        asked_upstream = [one for one in upstream.requests() if one.namespace == "reg.test"]
        if asked_upstream:
            raise RuntimeError(f"some requests went upstream: {asked_upstream[:3]}")
    peer, direct = took["reg.test"], took["direct.test"]
    return [
        ratios("containerd-pull seconds, peer / docker-registry", peer, direct, "<= 1.1"),
        result("containerd-pull from a peer", peer, "s"),
        result("containerd-pull from docker-registry", direct, "s"),
    ]


async def _pull(daemon: Containerd, reference: str) -> float:
    began = time.perf_counter()
    await daemon.cri.pull(reference, within=300)
    seconds = time.perf_counter() - began
    await asyncio.sleep(_FORGET_S)
    await daemon.cri.remove(reference)
    await eventually(lambda: not daemon.blobs(), 60, "content is left after a removal")
    return seconds
