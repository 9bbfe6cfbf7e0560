"""Pulls by containerds of every version; a peer drips, one is killed every 2 s, a router is suspended.

`make soak` takes longer. The upstream is there, as it is for users; how much it is asked for is printed, not
asserted: that depends on whom the kills hit.
"""

import asyncio
import itertools
import os
import random
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.cluster_support import MIB, Cluster, holds, line_of, logged
from tests.e2e.conftest import ContainerdFactory
from tests.support.containerd import Containerd
from tests.support.images import Image, make_image, push
from tests.support.machines import SERIES, absent
from tests.support.nats import NatsServer
from tests.support.process import Process
from tests.support.system import LEASE_S, Node, running_system
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.skipif(bool(absent()), reason=absent()),
    pytest.mark.timeout(float(os.environ.get("HELIOGRAPH_SOAK_S", "15")) + 120),
]

SOAK_S = float(os.environ.get("HELIOGRAPH_SOAK_S", "15"))
KILL_EVERY_S = 2.0
LAYERS = [24 * MIB, 6 * MIB, 50_000]
TAGS = ("v0", "v1", "v2", "v3")
LINE_BYTES_S = 24 * MIB
"""What a peer sends on one connection: a kill mostly hits a layer that is under way."""
DRIP_BYTES_S = 2000
GROWTH_MIB = 24
GROWTH_DESCRIPTORS = 20
"""What may be gained after the first quarter of a long run, in which caches fill."""


@dataclass
class Tally:
    pulls: int = 0
    kills: int = 0
    failures: list[str] = field(default_factory=list)


@pytest.fixture
async def cluster(
    tmp_path: Path, nats_server: NatsServer, containerd: ContainerdFactory, upstream: Upstream
) -> AsyncIterator[Cluster]:
    """A bus, two routers, and as yet no node."""
    async with running_system(tmp_path, nats_server, replicas=2) as system:
        await system.start_router()
        yield Cluster(system, containerd, upstream, tmp_path)


@pytest.fixture
async def images(upstream: Upstream, tmp_path: Path) -> dict[str, Image]:
    """By reference; of one size, with no layer in common."""
    images = {}
    for seed, tag in enumerate(TAGS):
        image = make_image(tmp_path / "images", LAYERS, seed=seed, compress=False)
        await push(image, upstream.url, "team/app", tag)
        images[f"reg.test/team/app:{tag}"] = image
    upstream.forget()
    return images


async def test_no_pull_fails_while_peers_are_killed(
    cluster: Cluster, upstream: Upstream, images: dict[str, Image]
) -> None:
    held = [(image, reference) for reference, image in images.items()]
    peers = await asyncio.gather(*(cluster.add_holder(name, *held) for name in "abc"))
    for peer in peers:
        line_of(peer).limit(LINE_BYTES_S)
    line_of(await cluster.add_holder("drips", *held)).limit(DRIP_BYTES_S)
    pullers = [await cluster.add(f"puller-{series}", series) for series in SERIES]
    tally, ends_at = Tally(), time.monotonic() + SOAK_S
    registries = [node.registry for node, _ in pullers]

    async def go_on_with(step: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < ends_at:
            await step()

    works = [_pulling(daemon, images, tally) for _, daemon in pullers]
    works.append(lambda: _kill_one(cluster, peers, tally))
    works.append(lambda: _suspend_a_router(cluster))
    working = [asyncio.create_task(go_on_with(work)) for work in works]
    await asyncio.wait(working, timeout=SOAK_S / 4)
    early = [_usage(registry) for registry in registries]
    await asyncio.gather(*working)
    late = [_usage(registry) for registry in registries]

    fetched = sum(request.size_bytes for request in upstream.requests() if request.method == "GET")
    pulled = tally.pulls * sum(blob.size_bytes for blob in held[0][0].pulled())
    switches, left = (
        sum(len(logged(registry, f"{what}, going on at another")) for registry in registries)
        for what in ("peer failed", "peer is slow")
    )
    share = fetched / max(1, pulled)
    print(  # noqa: T201 - the result of `make soak`
        f"\nsoak: {SOAK_S:.0f} s, {tally.pulls} pulls, {pulled / 1e9:.1f} GB, {share:.1%} from upstream, "
        f"{tally.kills} kills, {switches} of a transfer under way, {left} slow peers left, "
        f"{len(tally.failures)} failed; "
        f"RSS MiB and descriptors of the pullers' registries: {early} -> {late}"
    )
    assert tally.failures == []
    assert tally.pulls >= len(pullers)
    assert tally.kills
    if SOAK_S < 200:
        return
    assert tally.kills >= SOAK_S / KILL_EVERY_S / 4
    for (rss_early, open_early), (rss_late, open_late) in zip(early, late, strict=True):
        assert rss_late - rss_early < GROWTH_MIB
        assert open_late - open_early < GROWTH_DESCRIPTORS


def _pulling(daemon: Containerd, images: dict[str, Image], tally: Tally) -> Callable[[], Awaitable[None]]:
    """Pull the next image and wipe the one before.

    What is wiped at once is taken for wrong when it is asked for again, and hashed before it is served.
    """
    turns = itertools.cycle(images)
    before = ""

    async def pull() -> None:
        nonlocal before
        reference = next(turns)
        try:
            assert await daemon.cri.pull(reference) == images[reference].config.digest
            assert await asyncio.to_thread(holds, daemon, images[reference])
        except Exception as error:  # noqa: BLE001 - counted, and told at the end
            tally.failures.append(f"{daemon.process.name}: {error}")
        tally.pulls += 1
        if before:
            await daemon.cri.remove(before)
        before = reference

    return pull


async def _kill_one(cluster: Cluster, peers: list[Node], tally: Tally) -> None:
    began = time.monotonic()
    peer = random.choice(peers)
    await peer.registry.kill()
    tally.kills += 1
    await cluster.system.start_registry(peer)
    line_of(peer).limit(LINE_BYTES_S)
    await asyncio.sleep(max(0.0, KILL_EVERY_S - (time.monotonic() - began)))


async def _suspend_a_router(cluster: Cluster) -> None:
    """For longer than a lease. The other router goes on."""
    router = random.choice(cluster.system.routers)
    router.process.send(signal.SIGSTOP)
    await asyncio.sleep(LEASE_S + 1)
    router.process.send(signal.SIGCONT)
    await asyncio.sleep(LEASE_S)


def _usage(process: Process) -> tuple[int, int]:
    """Resident MiB, and open descriptors."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    resident = re.findall(r"VmRSS:\s+(\d+)", status)[0]
    return int(resident) // 1024, len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
