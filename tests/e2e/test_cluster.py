"""Real containerds of every version in one cluster, pulling by CRI from each other through Heliograph."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ContainerdFactory
from tests.support.containerd import Containerd
from tests.support.images import Image, make_image, push
from tests.support.machines import absent
from tests.support.nats import NatsServer
from tests.support.otlp import OtlpReceiver, exporting_to
from tests.support.process import Process
from tests.support.system import Node, System, connected_to, running_system
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

MIB = 1 << 20
REFERENCE = "reg.test/team/app:v1"
SCRIPTS = Path(sys.executable).parent


class Cluster:
    """Nodes of containerd, indexer and registry, each configured as its operator would."""

    def __init__(self, system: System, factory: ContainerdFactory, upstream: Upstream, logs: Path) -> None:
        self.system, self.upstream = system, upstream
        self._factory, self._logs = factory, logs
        self.containerds: dict[str, Containerd] = {}

    async def add(self, name: str, series: str) -> tuple[Node, Containerd]:
        daemon = await self._factory(series)
        self.containerds[name] = daemon
        node = await self.system.add_node(name, daemon.content_path, daemon)
        configure = Process(
            f"{name}-configurator",
            [
                SCRIPTS / "heliograph-configurator",
                "apply",
                "--registry-config-path",
                daemon.certs_path,
                "--mirrored-registries",
                "reg.test",
                "--mirror-targets",
                node.url,
            ],
            self._logs / f"{name}-configurator.log",
        )
        configure.start()
        assert await configure.ended() == 0, configure.tail()
        self._point_upstream(daemon)
        return node, daemon

    def _point_upstream(self, daemon: Containerd) -> None:
        """reg.test is a made-up name: what `server` says must be where the test's upstream listens."""
        hosts = daemon.certs_path / "reg.test" / "hosts.toml"
        text = hosts.read_text()
        assert "https://reg.test" in text
        hosts.write_text(text.replace("https://reg.test", self.upstream.url))


@pytest.fixture
async def cluster(
    tmp_path: Path,
    nats_server: NatsServer,
    containerd: ContainerdFactory,
    upstream: Upstream,
    otlp_receiver: OtlpReceiver,
) -> AsyncIterator[Cluster]:
    async with running_system(tmp_path, nats_server, exporting_to(otlp_receiver)) as system:
        await system.start_router()
        yield Cluster(system, containerd, upstream, tmp_path)


async def pushed(tmp_path: Path, upstream: Upstream, layers: list[int], *, index: bool = True) -> Image:
    image = make_image(tmp_path / "image", layers, index=index)
    await push(image, upstream.url, "team/app", "v1")
    upstream.forget()
    return image


async def test_an_image_travels_through_every_version_without_its_upstream(
    cluster: Cluster, upstream: Upstream, otlp_receiver: OtlpReceiver, tmp_path: Path
) -> None:
    image = await pushed(tmp_path, upstream, [20 * MIB, 3 * MIB, 40_000, 10])
    for name, series in [("a", "2"), ("b", "1.6"), ("c", "1.7"), ("d", "2")]:
        await cluster.add(name, series)
    digests = [blob.digest for blob in image.pulled()]

    await cluster.containerds["a"].cri.pull(REFERENCE)
    asked = {request.path.rpartition("/")[2] for request in upstream.requests()}
    assert asked >= set(digests)
    await cluster.system.announced("a", REFERENCE, *digests)
    assert await cluster.system.holders(*digests) == [{"a"}] * len(digests)

    await upstream.stop()
    for name, held in [("b", {"a"}), ("c", {"a", "b"}), ("d", {"a", "b", "c"})]:
        daemon = cluster.containerds[name]
        otlp_receiver.clear()
        assert await daemon.cri.pull(REFERENCE) == image.config.digest
        assert daemon.blobs() == set(digests)
        sources = await mirrored(otlp_receiver, name, digests)
        assert set(sources.values()) <= {f"peer/{peer}" for peer in held}, sources
        await cluster.system.announced(name, REFERENCE, *digests)


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


@pytest.mark.parametrize("series", ["1.6", "1.7", "2"])
async def test_a_peer_killed_in_the_middle_of_a_layer_does_not_fail_the_pull(
    series: str, cluster: Cluster, upstream: Upstream, tmp_path: Path
) -> None:
    image = await pushed(tmp_path, upstream, [200 * MIB], index=False)
    (layer,) = image.layers
    nodes = {name: await cluster.add(name, "2") for name in ("a", "b")}
    puller, daemon = await cluster.add("c", series)
    for name in nodes:
        await cluster.containerds[name].cri.pull(REFERENCE)
        await cluster.system.announced(name, REFERENCE, *(blob.digest for blob in image.pulled()))
    await upstream.stop()

    pull = asyncio.create_task(daemon.cri.pull(REFERENCE))
    await eventually(lambda: pull.done() or ingested(daemon) > layer.size_bytes // 20, interval=0.002)
    puller.registry.send(signal.SIGSTOP)
    received = ingested(daemon)
    assert not pull.done()
    assert received < layer.size_bytes
    (serving,) = [node for node, _ in nodes.values() if connected_to(puller.registry, node.port)]
    await serving.registry.kill()
    puller.registry.send(signal.SIGCONT)

    assert await pull == image.config.digest
    assert layer.digest in daemon.blobs()
    assert "going on at another" in puller.registry.log.read_text()


def ingested(daemon: Containerd) -> int:
    """How many bytes of downloads under way lie on the disk."""
    sizes = []
    for data in (daemon.content_path / "ingest").glob("*/data"):
        try:
            sizes.append(data.stat().st_size)
        except FileNotFoundError:  # committed meanwhile
            continue
    return max(sizes, default=0)


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
