"""A registry serves its peers' content, and answers 404 quickly while no router answers."""

import time

from tests.integration.registry_support import (
    BLOB,
    BLOB_DIGEST,
    BLOB_PATH,
    IMPATIENT,
    MANIFEST,
    MANIFEST_DIGEST,
    MANIFEST_PATH,
    Cluster,
)
from tests.support.bad_peer import Exchange
from tests.support.ports import free_port

# --- from peers ------------------------------------------------------------------------------------


async def test_content_that_the_node_lacks_comes_from_a_peer(cluster: Cluster) -> None:
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, BLOB)
    cluster.holds(seed, MANIFEST)
    for path, data in [(BLOB_PATH, BLOB), (MANIFEST_PATH, MANIFEST)]:
        head, answer = await node.http.head(path), await node.http.get(path)
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))
        assert (answer.status_code, answer.content) == (200, data)
        assert answer.headers["heliograph-source"] == head.headers["heliograph-source"] == "peer/seed"
    ranged = await node.http.get(BLOB_PATH, headers={"range": "bytes=3-1000"})
    assert (ranged.status_code, ranged.content) == (206, BLOB[3:1001])
    assert ranged.headers["content-range"] == f"bytes 3-1000/{len(BLOB)}"


async def test_the_router_resolves_a_tag_and_its_holder_serves_the_manifest(cluster: Cluster) -> None:
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, MANIFEST)
    cluster.known.tags["reg.test/app:1"] = MANIFEST_DIGEST
    by_ns = await node.http.get("/v2/app/manifests/1?ns=reg.test")
    by_path = await node.http.get("/v2/reg.test/app/manifests/1")
    for answer in (by_ns, by_path):
        assert (answer.status_code, answer.headers["docker-content-digest"]) == (200, MANIFEST_DIGEST)
    assert by_ns.headers["heliograph-source"] == "peer/seed"


async def test_a_tag_of_this_node_is_served_without_a_router(cluster: Cluster) -> None:
    node = await cluster.registry("a", first_byte_timeout_ms=3000)
    node.write_state({"reg.test/app:1": node.put(MANIFEST)})
    cluster.known.hangs = True
    answer = await node.http.get("/v2/app/manifests/1?ns=reg.test")
    assert (answer.status_code, answer.headers["heliograph-source"]) == (200, "local")


async def test_a_peers_request_is_only_served_from_the_nodes_own_content(cluster: Cluster) -> None:
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, BLOB)
    node.write_state({"reg.test/app:1": node.put(MANIFEST)})
    as_peer = {"heliograph-peer": "other"}
    tag = await node.http.get("/v2/app/manifests/1?ns=reg.test", headers=as_peer)
    assert (tag.status_code, tag.content) == (200, MANIFEST)
    for path in (BLOB_PATH, "/v2/app/manifests/2?ns=reg.test"):
        answer = await node.http.get(path, headers=as_peer)
        assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "not-local")
    assert not cluster.known.asked


async def test_filtered_registries_are_left_to_upstream(cluster: Cluster) -> None:
    node = await cluster.registry("a", mirrored_registries="reg.test", registry_filters="/secret/")
    node.put(BLOB)
    assert (await node.http.get(BLOB_PATH)).status_code == 200
    for path in (
        f"/v2/app/blobs/{BLOB_DIGEST}?ns=other.test",
        f"/v2/x/secret/y/blobs/{BLOB_DIGEST}?ns=reg.test",
    ):
        answer = await node.http.get(path)
        assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "filtered")


async def test_no_client_header_reaches_a_peer(cluster: Cluster) -> None:
    async def answers(exchange: Exchange) -> None:
        await exchange.begin(BLOB_DIGEST, len(BLOB))
        await exchange.send(BLOB)

    peer = await cluster.peer(answers, "peer")
    node = await cluster.registry("node")
    secret = {"authorization": "Bearer secret", "cookie": "secret", "x-forwarded-for": "secret"}
    assert (await node.http.get(BLOB_PATH, headers=secret)).content == BLOB
    assert "secret" not in peer.requests[0]
    assert "heliograph-peer: node" in peer.requests[0].lower()


async def test_a_relayed_manifest_is_local_once_it_is_in_the_store(cluster: Cluster) -> None:
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, MANIFEST)
    relayed = await node.http.get(MANIFEST_PATH)
    assert relayed.headers["heliograph-source"] == "peer/seed"
    node.put(MANIFEST)
    for _ in range(2):
        assert (await node.http.get(MANIFEST_PATH)).headers["heliograph-source"] == "local"


# --- routers that fail -----------------------------------------------------------------------------


async def test_a_router_that_is_down_delays_only_the_first_404(cluster: Cluster) -> None:
    cluster.router_port = free_port()
    node = await cluster.registry("node")
    first = await node.http.get(BLOB_PATH)
    assert (first.status_code, first.headers["heliograph-reason"]) == (404, "resolver-unavailable")
    began = time.monotonic()
    for _ in range(10):
        assert (await node.http.get(BLOB_PATH)).status_code == 404
    assert time.monotonic() - began < 5


async def test_a_router_that_hangs_is_a_404_in_time(cluster: Cluster) -> None:
    cluster.known.hangs = True
    node = await cluster.registry("node", **IMPATIENT)
    began = time.monotonic()
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "resolver-unavailable")
    assert time.monotonic() - began < 5


async def test_a_router_that_is_not_synced_counts_as_unavailable(cluster: Cluster) -> None:
    cluster.known.synced = False
    node = await cluster.registry("node")
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "resolver-unavailable")
