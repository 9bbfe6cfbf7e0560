"""While no router answers, content is found at peers directly, and a miss is still a quick 404."""

import asyncio
import time
from urllib.parse import unquote

import pytest

from heliograph_registry.adapters.dns import open_dns_peers
from heliograph_shared.address import Address
from tests.integration.registry_support import (
    BLOB,
    BLOB_DIGEST,
    BLOB_PATH,
    MANIFEST,
    MANIFEST_DIGEST,
    MANIFEST_PATH,
    Cluster,
    Registry,
)
from tests.support.ports import free_port

TAG, TAG_PATH = "reg.test/app:1", "/v2/app/manifests/1?ns=reg.test"


@pytest.fixture
async def cluster_of_8(cluster: Cluster) -> tuple[Registry, list[Registry]]:
    """A node that pulls, and seven others that it finds only by DNS. No router answers."""
    cluster.router_port = free_port()
    others = [await cluster.registry(f"node-{number}") for number in range(7)]
    names = ",".join(other.address for other in others)
    node = await cluster.registry("node", peer_dns=names)
    await open_the_breaker(node)
    return node, others


async def open_the_breaker(node: Registry) -> None:
    assert (await node.http.get("/v2/app/blobs/sha256:" + "0" * 64)).status_code == 404


async def test_a_digest_is_found_at_the_peer_that_holds_it(
    cluster_of_8: tuple[Registry, list[Registry]],
) -> None:
    node, others = cluster_of_8
    for data in (BLOB, MANIFEST):
        others[5].put(data)
    blob, manifest = await node.http.get(BLOB_PATH), await node.http.get(MANIFEST_PATH)
    assert (blob.content, manifest.content) == (BLOB, MANIFEST)
    assert unquote(blob.headers["heliograph-source"]) == f"peer/{others[5].address}"


async def test_a_tag_is_found_in_a_peers_state_file(cluster_of_8: tuple[Registry, list[Registry]]) -> None:
    node, others = cluster_of_8
    others[3].put(MANIFEST)
    others[3].write_state({TAG: MANIFEST_DIGEST})
    answer = await node.http.get(TAG_PATH)
    assert (answer.content, answer.headers["docker-content-digest"]) == (MANIFEST, MANIFEST_DIGEST)


async def test_content_that_no_node_holds_is_a_quick_404(
    cluster_of_8: tuple[Registry, list[Registry]],
) -> None:
    node, _ = cluster_of_8
    took = []
    for path in (BLOB_PATH, TAG_PATH) * 5:
        began = time.monotonic()
        answer = await node.http.get(path)
        took.append(time.monotonic() - began)
        assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "resolver-unavailable")
    assert sorted(took)[len(took) // 2] < 2


async def test_dns_names_that_cannot_be_resolved_or_reached_delay_a_404_little(cluster: Cluster) -> None:
    cluster.router_port = free_port()
    node = await cluster.registry("node", peer_dns="no-such-name.invalid:5000,127.0.0.1:1")
    await open_the_breaker(node)
    began = time.monotonic()
    assert (await node.http.get(BLOB_PATH)).status_code == 404
    assert time.monotonic() - began < 5


async def test_this_nodes_own_tag_is_preferred_to_a_peers(cluster: Cluster) -> None:
    cluster.router_port = free_port()
    other = await cluster.registry("other")
    node = await cluster.registry("node", peer_dns=other.address)
    other_manifest = MANIFEST.replace(b"2", b"2 ")
    other.write_state({TAG: other.put(other_manifest)})
    node.put(MANIFEST)
    node.write_state({TAG: MANIFEST_DIGEST})
    assert (await node.http.get(TAG_PATH)).content == MANIFEST


async def test_peers_that_a_router_named_are_asked_while_no_router_answers(cluster: Cluster) -> None:
    """Without any DNS name."""
    holder, node = await cluster.registry("holder"), await cluster.registry("node")
    cluster.holds(holder, BLOB)
    assert (await node.http.head(BLOB_PATH)).status_code == 200
    cluster.known.synced = False
    cluster.known.holders.clear()
    answer = await node.http.get(BLOB_PATH)
    assert (answer.content, answer.headers["heliograph-source"]) == (BLOB, "peer/holder")


async def test_peers_are_not_asked_after_a_routers_miss(cluster: Cluster) -> None:
    other = await cluster.registry("other")
    other.put(BLOB)
    node = await cluster.registry("node", peer_dns=other.address)
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "not-found")
    assert BLOB_DIGEST in str(answer.request.url)


async def test_dns_gives_every_address_of_a_name() -> None:
    async with open_dns_peers([Address("localhost", 5000), Address("127.0.0.9", 5001)]) as peers:
        await asyncio.sleep(0)
        found = await peers.addresses(8)
    assert {"127.0.0.1:5000", "127.0.0.9:5001"} <= set(found)
    async with open_dns_peers([]) as empty:
        assert await empty.addresses(8) == []
