"""containerd 2 with parallel ranges, which must never see a 404 after an accepted 206."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.cluster_support import MIB, REFERENCE, Cluster, holds, line_of, logged, pushed
from tests.support.images import Image
from tests.support.machines import MODERN, absent
from tests.support.system import Node
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.skipif(bool(absent()), reason=absent()),
    pytest.mark.parametrize("series", MODERN),
]

LAYER_BYTES = 64 * MIB
PARALLEL = f"""
[plugins.'io.containerd.transfer.v1.local']
  max_concurrent_downloads = 4
  concurrent_layer_fetch_buffer = {4 * MIB}
"""


@pytest.fixture
async def image(upstream: Upstream, tmp_path: Path) -> Image:
    return await pushed(tmp_path, upstream, [LAYER_BYTES])


async def held_by(cluster: Cluster, image: Image, *names: str) -> list[Node]:
    """Peers that hold the image, on lines so slow that its pull takes seconds."""
    peers = await asyncio.gather(*(cluster.add_holder(name, (image, REFERENCE)) for name in names))
    for peer in peers:
        line_of(peer).limit(4 * MIB)
    return peers


async def begun(puller: Node, peers: list[Node], pull: asyncio.Task[str]) -> None:
    """Wait until some ranges of the layer have passed and the next ones are half way."""

    def under_way() -> bool:
        passed = [line for line in logged(puller.registry, "mirrored") if line["sent_bytes"] > MIB]
        sent = [count for peer in peers for count in line_of(peer).sent_bytes().values()]
        return pull.done() or (len(passed) >= 3 and sum(MIB < count < 3 * MIB for count in sent) >= 3)

    await eventually(under_way, 30, "no parallel ranges are under way")
    assert not pull.done()


async def test_the_upstream_has_the_rest_when_all_peers_are_killed(
    series: str, cluster: Cluster, image: Image, upstream: Upstream
) -> None:
    peers = await held_by(cluster, image, "a", "b")
    puller, daemon = await cluster.add("puller", series, extra_config=PARALLEL)
    pull = asyncio.create_task(daemon.cri.pull(REFERENCE))
    await begun(puller, peers, pull)
    await asyncio.gather(*(peer.registry.kill() for peer in peers))

    assert await pull == image.config.digest
    assert holds(daemon, image)
    (layer,) = image.layers
    statuses = {request.status for request in upstream.requests() if layer.digest in request.path}
    assert statuses == {206}


async def test_another_peer_has_the_rest_when_one_is_killed_and_there_is_no_upstream(
    series: str, cluster: Cluster, image: Image, upstream: Upstream
) -> None:
    await upstream.stop()
    peers = await held_by(cluster, image, "a", "b")
    puller, daemon = await cluster.add("puller", series, extra_config=PARALLEL)
    pull = asyncio.create_task(daemon.cri.pull(REFERENCE))
    await begun(puller, peers, pull)
    killed = max(peers, key=lambda peer: sum(line_of(peer).sent_bytes().values()))
    await killed.registry.kill()

    assert await pull == image.config.digest
    assert holds(daemon, image)
    switches = logged(puller.registry, "peer failed, going on at another")
    assert {switch["peer"] for switch in switches} == {killed.name}
