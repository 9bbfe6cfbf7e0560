"""Real containerds of every version in one cluster, pulling by CRI from each other through Heliograph."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.cluster_support import MIB, REFERENCE, Cluster, pushed
from tests.support.machines import SERIES, absent
from tests.support.otlp import OtlpReceiver
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())


async def test_an_image_travels_through_every_version_without_its_upstream(
    cluster: Cluster, upstream: Upstream, otlp_receiver: OtlpReceiver, tmp_path: Path
) -> None:
    image = await pushed(tmp_path, upstream, [20 * MIB, 3 * MIB, 40_000, 10])
    for name, series in zip("abcde", ("2", *SERIES), strict=False):
        await cluster.add(name, series)
    digests = [blob.digest for blob in image.pulled()]

    await cluster.containerds["a"].cri.pull(REFERENCE)
    asked = {request.path.rpartition("/")[2] for request in upstream.requests()}
    assert asked >= set(digests)
    await cluster.system.announced("a", REFERENCE, *digests)
    assert await cluster.system.holders(*digests) == [{"a"}] * len(digests)

    await upstream.stop()
    held = {"a"}
    for name, daemon in list(cluster.containerds.items())[1:]:
        otlp_receiver.clear()
        assert await daemon.cri.pull(REFERENCE) == image.config.digest
        assert daemon.blobs() == set(digests)
        sources = await mirrored(otlp_receiver, name, digests)
        assert set(sources.values()) <= {f"peer/{peer}" for peer in held}, sources
        await cluster.system.announced(name, REFERENCE, *digests)
        held.add(name)


async def mirrored(receiver: OtlpReceiver, node: str, digests: list[str]) -> dict[str, str]:
    """By digest, where the node's registry took it from."""

    def sources() -> dict[str, str]:
        return {
            str(span.attributes["url.path"]).rpartition("/")[2]: str(span.attributes["heliograph.source"])
            for span in receiver.spans()
            if span.kind == "server"
            and span.resource.get("service.instance.id") == node
            and span.attributes.get("http.response.status_code") in {200, 206}
        }

    await eventually(lambda: sources().keys() >= set(digests), message=lambda: f"{node}: {sources()}")
    return {digest: sources()[digest] for digest in digests}


async def test_everything_of_heliograph_down_leaves_pulls_to_the_upstream(
    cluster: Cluster, upstream: Upstream, tmp_path: Path
) -> None:
    image = await pushed(tmp_path, upstream, [MIB])
    node, daemon = await cluster.add("a", "2")
    await asyncio.gather(
        cluster.system.router.kill(), node.registry.kill(), node.indexer.kill(), cluster.system.nats.kill()
    )
    assert await daemon.cri.pull(REFERENCE) == image.config.digest


async def test_router_and_bus_down_leave_pulls_to_the_upstream(
    cluster: Cluster, upstream: Upstream, tmp_path: Path
) -> None:
    image = await pushed(tmp_path, upstream, [MIB])
    node, daemon = await cluster.add("a", "1.6")
    await asyncio.gather(cluster.system.router.kill(), cluster.system.nats.kill())
    assert await daemon.cri.pull(REFERENCE) == image.config.digest
    assert node.registry.running
