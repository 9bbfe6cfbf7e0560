"""Peers that are killed or restarted while real containerds of every version take a large layer from them."""

import asyncio
import signal
import time

import pytest

from tests.e2e.cluster_support import MIB, Cluster, held_at, holds, line_of, logged
from tests.support.images import Image, make_image, push
from tests.support.machines import SERIES, absent
from tests.support.system import Node
from tests.support.upstream import Upstream

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

PERCENTS = (10, 50, 98)
SUSPENDED = 50
LAYER_BYTES = 100_000_000


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    """By reference, one for each of `PERCENTS`; each has one large layer."""
    folder = tmp_path_factory.mktemp("large")
    return {
        f"reg.test/team/app:v{seed}": make_image(folder, [LAYER_BYTES], seed=seed, compress=False)
        for seed in PERCENTS
    }


async def holders(cluster: Cluster, images: dict[str, Image], count: int) -> list[Node]:
    held = [(image, reference) for reference, image in images.items()]
    return await asyncio.gather(*(cluster.add_holder(f"peer-{number}", *held) for number in range(count)))


@pytest.mark.parametrize("series", SERIES)
async def test_a_peer_killed_or_suspended_in_a_layer_does_not_fail_the_pull(
    series: str, cluster: Cluster, images: dict[str, Image], upstream: Upstream
) -> None:
    """One is only suspended: its connections stay open, and nothing comes."""
    await upstream.stop()
    peers = await holders(cluster, images, len(PERCENTS) + 1)
    puller, daemon = await cluster.add("puller", series)
    for percent, (reference, image) in zip(PERCENTS, images.items(), strict=True):
        passed = LAYER_BYTES * percent // 100
        pull = asyncio.create_task(daemon.cri.pull(reference))
        killed = await held_at(passed, peers, pull)
        began = time.monotonic()
        if percent != SUSPENDED:
            await killed.registry.kill()
        peers.remove(killed)

        assert await pull == image.config.digest
        assert holds(daemon, image)
        what = "peer is slow" if percent == SUSPENDED else "peer failed"
        (switch,) = logged(puller.registry, f"{what}, going on at another")[-1:]
        assert time.monotonic() - began < 15
        assert switch["peer"] == killed.name
        assert passed - MIB <= switch["sent_bytes"] < LAYER_BYTES


async def test_the_upstream_has_the_rest_of_a_layer_whose_last_peer_is_killed(
    cluster: Cluster, images: dict[str, Image], upstream: Upstream
) -> None:
    reference, image = next(iter(images.items()))
    (layer,) = image.layers
    await push(image, upstream.url, "team/app", reference.rpartition(":")[2])
    upstream.forget()
    (peer,) = await holders(cluster, images, 1)
    daemons = [(await cluster.add(f"puller-{series}", series))[1] for series in SERIES]

    pulls = asyncio.gather(*(daemon.cri.pull(reference) for daemon in daemons))
    await held_at(LAYER_BYTES // 2, [peer], pulls)
    await peer.registry.kill()

    assert await pulls == [image.config.digest] * len(daemons)
    assert all(holds(daemon, image) for daemon in daemons)
    fetched = [request for request in upstream.requests() if layer.digest in request.path]
    assert [request.status for request in fetched] == [206] * len(daemons)


async def test_a_rolling_restart_of_all_peers_disturbs_no_pull(
    cluster: Cluster, images: dict[str, Image], upstream: Upstream
) -> None:
    await upstream.stop()
    reference, image = next(iter(images.items()))
    peers = await holders(cluster, images, 3)
    daemons = [(await cluster.add(f"puller-{series}", series))[1] for series in SERIES]
    for peer in peers:
        line_of(peer).limit(50 * MIB)
    pulls = asyncio.gather(*(daemon.cri.pull(reference) for daemon in daemons))

    for peer in peers:
        await _restarted(cluster, peer)

    assert await pulls == [image.config.digest] * len(daemons)
    assert all(holds(daemon, image) for daemon in daemons)


async def _restarted(cluster: Cluster, peer: Node) -> None:
    """By SIGTERM, and with the time that its transfers take."""
    peer.registry.send(signal.SIGTERM)
    assert await peer.registry.ended(within=40) == 0
    await cluster.system.start_registry(peer)
    line_of(peer).limit(50 * MIB)
