"""A peer whose stored layer has rotted: containerd notices, and the second pull must succeed."""

from pathlib import Path

import grpc
import pytest

from tests.e2e.cluster_support import MIB, REFERENCE, Cluster, holds, logged, pushed
from tests.support.containerd import Containerd
from tests.support.images import Image, make_image
from tests.support.machines import SERIES, absent
from tests.support.system import Node
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

FIRST = "reg.test/team/first:v1"


@pytest.fixture
async def image(upstream: Upstream, tmp_path: Path) -> Image:
    return await pushed(tmp_path, upstream, [8 * MIB])


@pytest.fixture
async def pullers(cluster: Cluster, image: Image, tmp_path: Path) -> list[tuple[Node, Containerd]]:
    """One of each version, whose first pull by way of `liar` has failed.

    Each had pulled another image before: the wrong blob would else poison its empty store.
    """
    first = make_image(tmp_path / "first", [1000], seed=1)
    await cluster.add_holder("liar", (first, FIRST), (image, REFERENCE), rotten=image.layers[0].digest)
    pullers = [await cluster.add(f"puller-{series}", series) for series in SERIES]
    for _, daemon in pullers:
        await daemon.cri.pull(FIRST)
        with pytest.raises(grpc.aio.AioRpcError, match="unexpected commit digest"):
            await daemon.cri.pull(REFERENCE)
        await discarded(daemon)
    return pullers


async def discarded(daemon: Containerd) -> None:
    """Wait until containerd has cleaned up: before, a pull takes the bytes that it has and asks nobody."""
    ingest = daemon.content_path / "ingest"
    await eventually(lambda: not list(ingest.glob("*")), 60, "the wrong bytes are kept")


async def second_pull(puller: Node, daemon: Containerd, image: Image) -> None:
    """Afterwards the node is no peer to the others."""
    assert await daemon.cri.pull(REFERENCE) == image.config.digest
    assert holds(daemon, image)
    await puller.registry.kill()


async def test_the_second_pull_comes_from_a_good_peer_when_there_is_no_upstream(
    cluster: Cluster, pullers: list[tuple[Node, Containerd]], image: Image, upstream: Upstream
) -> None:
    (layer,) = image.layers
    await upstream.stop()
    await cluster.add_holder("good", (image, REFERENCE))
    for puller, daemon in pullers:
        await second_pull(puller, daemon, image)
        answers = [line for line in logged(puller.registry, "mirrored") if layer.digest in line["path"]]
        assert [answer["source"] for answer in answers] == ["peer/liar", "peer/good"]


async def test_the_second_pull_comes_from_the_upstream_when_there_is_only_the_liar(
    pullers: list[tuple[Node, Containerd]], image: Image, upstream: Upstream
) -> None:
    (layer,) = image.layers
    assert upstream.requests() == []
    for puller, daemon in pullers:
        upstream.forget()
        await second_pull(puller, daemon, image)
        (told,) = logged(puller.registry, "peer sent wrong bytes, it is asked last now")
        assert told["peer"] == "liar"
        await eventually(lambda: [layer.digest in request.path for request in upstream.requests()] == [True])
