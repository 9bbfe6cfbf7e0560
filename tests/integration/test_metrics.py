"""The metrics of a running system: they agree with what clients received, and all of them are documented."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from docs.reference.labels import values
from docs.reference.registries import EVERY_SERVICE, families
from heliograph_shared.digest import digest_of, hex_of
from tests.support.images import Image, make_image, write_layout
from tests.support.nats import NatsServer
from tests.support.system import Node, System, running_system
from tests.support.waiting import eventually

REGISTRY, IMAGE = "reg.test", "team/app"
REFERENCE = f"{REGISTRY}/{IMAGE}:v1"
SENT, REQUESTS = "heliograph_registry_sent_bytes_total", "heliograph_registry_requests_total"
BIG = os.urandom(1 << 20) * 64
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Scraped:
    """The samples of one process, or the sums of several."""

    samples: Samples = field(default_factory=lambda: defaultdict(float))

    def sum(self, name: str, **labels: str) -> float:
        """The sum of all series that have these labels."""
        found = ((shown, value) for (of, shown), value in self.samples.items() if of == name)
        return sum(value for shown, value in found if labels.items() <= set(shown))


async def scrape(*addresses: str) -> Scraped:
    scraped = Scraped()
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        for address in addresses:
            text = (await http.get(f"{address}/metrics")).text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    scraped.samples[sample.name, frozenset(sample.labels.items())] += sample.value
    return scraped


@dataclass
class Puller:
    """A client of a node, which counts the answers and bytes that it receives."""

    node: Node
    http: httpx.AsyncClient
    received_bytes: int = 0
    received: int = 0

    async def ask(self, kind: str, reference: str, method: str = "GET") -> httpx.Response:
        address = f"{self.node.url}/v2/{IMAGE}/{kind}/{reference}?ns={REGISTRY}"
        answer = await self.http.request(method, address)
        if answer.is_success:
            self.received_bytes += len(answer.content)
            self.received += 1
        return answer

    async def pull(self, image: Image) -> None:
        """Request the same as containerd does in a pull."""
        assert (await self.ask("manifests", "v1", "HEAD")).is_success
        assert (await self.ask("manifests", image.manifest.digest)).is_success
        for blob in (image.config, *image.layers):
            assert (await self.ask("blobs", blob.digest)).is_success


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return make_image(tmp_path / "image", [3_000_000, 20_000, 1000])


@pytest.fixture
async def system(tmp_path: Path, nats_server: NatsServer, image: Image) -> AsyncIterator[System]:
    """Node 1 holds the image, nodes 1 and 3 hold a big blob, node 2 holds nothing."""
    write_layout(image, tmp_path / "1", REFERENCE)
    (tmp_path / "2").mkdir()
    for name in ("1", "3"):
        blobs = tmp_path / name / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        (blobs / hex_of(digest_of(BIG))).write_bytes(BIG)
    async with running_system(tmp_path, nats_server) as running:
        await running.start_router()
        nodes = (running.add_node(f"node-{number}", tmp_path / str(number)) for number in (1, 2, 3))
        await asyncio.gather(*nodes)
        await running.announced("node-1", REFERENCE, *(blob.digest for blob in image.blobs()), digest_of(BIG))
        await running.announced("node-3", digest_of(BIG))
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


async def test_numbers_add_up_to_what_was_pulled(
    system: System, http: httpx.AsyncClient, image: Image
) -> None:
    holder, *others = system.nodes.values()
    pullers = [Puller(node, http) for node in others]
    for puller in pullers:
        await puller.pull(image)
    assert (await pullers[0].ask("blobs", image.layers[1].digest)).is_success  # hashed before it is sent
    missing = await pullers[0].ask("blobs", digest_of(b"nowhere"))
    assert missing.headers["heliograph-reason"] == "not-found"

    received = sum(one.received for one in pullers)
    received_bytes = sum(one.received_bytes for one in pullers)
    await counted(received + 1, *others)
    await counted(received, holder)  # a manifest is fetched once, for its HEAD, and its config also for that
    there, here = await scrape(*(node.admin for node in others)), await scrape(holder.admin)
    assert (
        there.sum(SENT, requester="client") - there.sum(SENT, requester="client", source="none")
        == received_bytes
    )
    assert there.sum(SENT, source="peer") == received_bytes
    configs_bytes = len(pullers) * image.config.size_bytes  # read for the platform that they state
    assert here.sum(SENT, requester="peer", source="local") == received_bytes + configs_bytes
    assert there.sum(SENT, source="none") == len(missing.content)
    assert there.sum(REQUESTS, requester="client", registry=REGISTRY, outcome="peer") == received
    assert there.sum(REQUESTS, outcome="missed", reason="not-found", registry=REGISTRY) == 1
    assert there.sum(REQUESTS) == received + 1
    assert here.sum(REQUESTS, requester="peer", outcome="local", reason="none") == here.sum(REQUESTS) > 0
    assert here.sum(REQUESTS) == there.sum("heliograph_registry_peer_requests_total", outcome="answered")
    assert there.sum("heliograph_registry_verified_blobs_total", outcome="verified") == 1
    assert there.sum("heliograph_registry_first_byte_seconds_count") == received + 1
    assert 0 < there.sum("heliograph_registry_first_byte_seconds_sum") < 30
    assert there.sum("heliograph_registry_resolve_seconds_count", outcome="answered") > 0
    assert there.sum("heliograph_registry_transfers") == 0

    held = len(image.blobs()) + 1
    indexer, empty = await scrape(holder.indexer_admin), await scrape(others[0].indexer_admin)
    for what, count in {"images": 1, "tags": 1, "digests": held, "addresses": 1}.items():
        assert indexer.sum(f"heliograph_indexer_advertised_{what}") == count
    assert empty.sum("heliograph_indexer_advertised_digests") == 0
    router = await scrape(system.routers[0].admin)
    assert router.sum("heliograph_router_digests") == held
    assert router.sum("heliograph_router_index_entries") == held + 1
    assert router.sum("heliograph_router_nodes", state="in_sync") == 3
    assert router.sum("heliograph_router_leases") == 3
    assert router.sum("heliograph_router_event_lag_seconds_count") >= 2
    await check_all_is_documented(system)


async def test_bytes_from_the_peer_that_resumed_are_counted_as_resumed(
    system: System, http: httpx.AsyncClient
) -> None:
    node = system.nodes["node-2"]
    received = bytearray()
    async with http.stream("GET", f"{node.url}/v2/{IMAGE}/blobs/{digest_of(BIG)}?ns={REGISTRY}") as answer:
        serving = answer.headers["heliograph-source"].removeprefix("peer/")
        async for piece in answer.aiter_raw(1 << 20):
            if not received:
                await system.nodes[serving].registry.kill()
            received += piece
    assert received == BIG

    await counted(1, node)
    (other,) = {"node-1", "node-3"} - {serving}
    there, other_sent = await scrape(node.admin), await scrape(system.nodes[other].admin)
    resumed = there.sum(SENT, requester="client", source="resumed")
    assert 0 < resumed < len(BIG)
    assert there.sum(SENT, requester="client", source="peer") + resumed == len(BIG)
    assert (
        other_sent.sum(SENT, requester="peer", source="local") >= resumed
    )  # it may have lost the race before
    assert there.sum("heliograph_registry_resumes_total") == 1


async def counted(requests: float, *nodes: Node) -> None:
    """Wait until so many requests are counted, which happens a moment after their last byte."""

    async def are_counted() -> bool:
        return (await scrape(*(node.admin for node in nodes))).sum(REQUESTS) >= requests

    await eventually(are_counted)


async def check_all_is_documented(system: System) -> None:
    """Each metric has its documented labels, and labels with a documented list of values have no others."""
    nodes = system.nodes.values()
    shown = {
        "registry": [node.admin for node in nodes],
        "indexer": [node.indexer_admin for node in nodes],
        "router": [router.admin for router in system.routers],
    }
    for service, addresses in shown.items():
        described = {
            name: family
            for family in [*families(service), *families(EVERY_SERVICE)]
            for name in family.samples
        }
        for name, labels in (await scrape(*addresses)).samples:
            if not name.startswith("heliograph_") or name.endswith("_created"):
                continue
            family = described[name]
            assert {label for label, _ in labels} == family.samples[name], name
            for label, value in labels:
                documented = values(family.name, label)
                closed = documented.startswith(("`", "as in"))
                assert label == "le" or f"`{value}`" in documented or not closed, f"{name} {label}={value}"
