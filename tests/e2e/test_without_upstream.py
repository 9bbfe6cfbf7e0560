"""What upstream is spared: by waiting, by other routers, and with no router at all."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.cluster_support import MIB, REFERENCE, Cluster, pushed
from tests.e2e.conftest import ContainerdFactory
from tests.support.machines import SERIES, absent
from tests.support.nats import NatsServer
from tests.support.system import running_system
from tests.support.uplink import Uplink
from tests.support.upstream import Upstream

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

# Half a lease is what a leader has until its heartbeat must say that it downloads.
PATIENT = {"HELIOGRAPH_LEASE_S": "30", "HELIOGRAPH_HEARTBEAT_S": "1"}


@pytest.mark.parametrize("replicas", [1, 2])
async def test_of_many_nodes_that_pull_at_once_one_for_each_router_goes_upstream(
    tmp_path: Path, nats_server: NatsServer, containerd: ContainerdFactory, upstream: Upstream, replicas: int
) -> None:
    image = await pushed(tmp_path, upstream, [8 * MIB, 8 * MIB])
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(
            running_system(tmp_path, nats_server, PATIENT, replicas=replicas)
        )
        await system.start_router()
        uplink = await stack.enter_async_context(Uplink(upstream.port, 8 * MIB).open())
        cluster = Cluster(system, containerd, upstream, tmp_path)
        nodes = await cluster.add_all("2", *SERIES, registry={"HELIOGRAPH_WAIT_MS": "25000"})
        for node, daemon in nodes:
            daemon.mirror("reg.test", node.url, server=uplink.url)
        pulled = await asyncio.gather(*(daemon.cri.pull(REFERENCE, within=90) for _, daemon in nodes))
    assert set(pulled) == {image.config.digest}
    fetched = Counter(
        request.path.rpartition("/")[2] for request in upstream.requests() if request.method == "GET"
    )
    for layer in image.layers:
        assert 1 <= fetched[layer.digest] <= replicas, fetched


async def test_either_router_is_enough(
    tmp_path: Path, nats_server: NatsServer, containerd: ContainerdFactory, upstream: Upstream
) -> None:
    """A pull succeeds from a peer while one router is down, and while the other is, the first just back."""
    image = await pushed(tmp_path, upstream, [4 * MIB, 100_000])
    digests = [blob.digest for blob in image.pulled()]
    async with running_system(tmp_path, nats_server, replicas=2) as system:
        await system.start_router()
        cluster = Cluster(system, containerd, upstream, tmp_path)
        added = await cluster.add_all("2", "1.7", SERIES[-1])
        first, second, third = (daemon for _, daemon in added)
        await first.cri.pull(REFERENCE)
        await system.announced("0", REFERENCE, *digests)
        await upstream.stop()
        one, other = system.routers
        await other.process.kill()
        assert await second.cri.pull(REFERENCE) == image.config.digest
        await system.start_router(1)
        await one.process.kill()
        assert await third.cri.pull(REFERENCE) == image.config.digest


async def test_with_router_and_bus_stopped_eight_nodes_still_find_what_a_peer_holds(
    cluster: Cluster, upstream: Upstream, tmp_path: Path
) -> None:
    image = await pushed(tmp_path, upstream, [4 * MIB, 100_000])
    for number in range(6):
        directory = tmp_path / f"empty-{number}"
        directory.mkdir()
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (directory / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
        await cluster.system.add_node(f"empty-{number}", directory)
    holder = await cluster.add_holder("holder", (image, REFERENCE))
    addresses = [f"127.0.0.1:{node.port}" for node in cluster.system.nodes.values()]
    assert f"127.0.0.1:{holder.port}" in addresses
    _, daemon = await cluster.add("8", "2", registry={"HELIOGRAPH_PEER_DNS": ",".join(addresses)})
    await upstream.stop()
    await asyncio.gather(cluster.system.router.kill(), cluster.system.nats.kill())
    assert await daemon.cri.pull(REFERENCE) == image.config.digest
