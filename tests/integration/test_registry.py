"""The registry as its clients see it: containerd's requests, and routers that are down."""

import asyncio
import json
import os
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from heliograph_registry.adapters.filesystem import FileContent
from heliograph_shared.digest import digest_of
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
from tests.support.bad_peer import Exchange
from tests.support.descriptors import open_descriptors
from tests.support.page_cache import evict
from tests.support.ports import free_port
from tests.support.waiting import eventually

# --- local content ---------------------------------------------------------------------------------


async def test_the_base_says_that_this_is_a_registry(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    answer = await node.http.get("/v2/")
    assert (answer.status_code, answer.json()) == (200, {})


async def test_a_manifest_comes_with_its_own_media_type(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    node.put(MANIFEST)
    for method in ("HEAD", "GET"):
        answer = await node.http.request(method, MANIFEST_PATH)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/vnd.oci.image.manifest.v1+json"
        assert answer.headers["docker-content-digest"] == MANIFEST_DIGEST
        assert answer.headers["content-length"] == str(len(MANIFEST))
        assert answer.headers["heliograph-source"] == "local"
        assert "content-encoding" not in answer.headers
        assert answer.content == (MANIFEST if method == "GET" else b"")


async def test_long_paths_are_not_remembered(cluster: Cluster) -> None:
    """Of thousands that a client may send in a second each takes up as much as a head may."""
    node = await cluster.registry("a")
    host, port = node.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    tracemalloc.start()
    before = 0
    try:
        for number in range(200):
            writer.write(b"GET /v2/%d%s HTTP/1.1\r\nHost: x\r\n\r\n" % (number, b"a" * 30_000))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404 ")
            await reader.readuntil(b"]}")
            before = before or tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - before < 2 << 20
    finally:
        tracemalloc.stop()
        writer.close()


async def test_a_blob_is_served_whole_and_in_ranges(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    node.put(BLOB)
    whole = await node.http.get(BLOB_PATH)
    assert (whole.status_code, whole.content) == (200, BLOB)
    for header, expected in [
        ("bytes=5-9", BLOB[5:10]),
        ("bytes=1000000-", BLOB[1_000_000:]),
        ("bytes=-7", BLOB[-7:]),
    ]:
        part = await node.http.get(BLOB_PATH, headers={"range": header})
        assert (part.status_code, part.content) == (206, expected)
        assert part.headers["content-range"].endswith(f"/{len(BLOB)}")
    beyond = await node.http.get(BLOB_PATH, headers={"range": f"bytes={len(BLOB)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(BLOB)}")
    head = await node.http.head(BLOB_PATH)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(BLOB)), b"")


async def test_an_empty_blob_is_a_blob(cluster: Cluster) -> None:
    node, other = await cluster.registry("a"), await cluster.registry("b")
    cluster.holds(node, b"")
    for registry in (node, other):
        answer = await registry.http.get(f"/v2/app/blobs/{digest_of(b'')}")
        assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/app/blobs/sha256:xyz", 400, "DIGEST_INVALID"),
        ("GET", "/v2/APP/manifests/latest?ns=reg.test", 400, "NAME_INVALID"),
        ("GET", "/v2/app/manifests/latest?ns=a%20b", 400, "NAME_INVALID"),
        ("GET", "/v2/%2e%2e/%2e%2e/etc/passwd", 404, "UNSUPPORTED"),
        ("GET", "/v2/app/manifests/%00", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/", 404, "UNSUPPORTED"),
        ("GET", "/v2/app/manifests/latest", 404, "MANIFEST_UNKNOWN"),
        ("PUT", "/v2/app/manifests/latest", 405, "UNSUPPORTED"),
        ("POST", "/v2/app/blobs/uploads/", 405, "UNSUPPORTED"),
        ("DELETE", MANIFEST_PATH, 405, "UNSUPPORTED"),
    ],
)
async def test_what_cannot_be_answered_gets_the_errors_of_the_spec(
    cluster: Cluster, method: str, path: str, status: int, code: str
) -> None:
    node = await cluster.registry("a")
    answer = await node.http.request(method, path)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
    assert answer.headers["heliograph-reason"]
    assert answer.headers["heliograph-source"] == "none"


@pytest.mark.parametrize("garbage", [b"nonsense\r\n\r\n", b"GET /v2/\x00\xff HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_bytes_that_are_no_request_get_the_errors_of_the_spec(cluster: Cluster, garbage: bytes) -> None:
    node = await cluster.registry("a")
    host, port = node.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(garbage)
    head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["errors"][0]["code"] == "UNSUPPORTED"


async def test_an_answer_under_way_is_not_mixed_with_an_error(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    big = os.urandom(16 << 20)
    digest = node.put(big)
    host, port = node.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"nonsense\r\n\r\n")
    assert await reader.read(-1) == big
    writer.close()


async def test_a_manifest_whose_bytes_rotted_is_not_served(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    (node.directory / "blobs" / "sha256" / MANIFEST_DIGEST[7:]).write_bytes(MANIFEST + b" ")
    assert (await node.http.get(MANIFEST_PATH)).status_code == 404


async def test_an_unreadable_blob_is_taken_from_a_peer(cluster: Cluster) -> None:
    node, other = await cluster.registry("a"), await cluster.registry("b")
    (node.directory / "blobs" / "sha256" / BLOB_DIGEST[7:]).mkdir()
    cluster.holds(other, BLOB)
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.content) == (200, BLOB)
    assert answer.headers["heliograph-source"] == "peer/b"


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("kind", ["directory", "pipe", "emptied"])
async def test_what_is_not_a_blobs_file_is_not_served(cluster: Cluster, method: str, kind: str) -> None:
    node = await cluster.registry("a")
    path = node.directory / "blobs" / "sha256" / BLOB_DIGEST[7:]
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
            path.open("r+b", buffering=0).close()
        case _:
            path.touch()  # as a crash leaves it
    assert (await node.http.request(method, BLOB_PATH)).status_code == 404


async def test_a_read_that_is_cancelled_before_it_began_leaves_no_descriptor(tmp_path: Path) -> None:
    digest = digest_of(BLOB)
    path = tmp_path / "blobs" / "sha256" / digest[7:]
    path.parent.mkdir(parents=True)
    path.write_bytes(BLOB)
    evict(path)
    with ThreadPoolExecutor(1) as readers:
        blob = await FileContent(tmp_path, readers).open(digest)
        assert blob is not None
        held = threading.Event()
        readers.submit(held.wait)
        before = open_descriptors()
        reading = asyncio.ensure_future(blob.read(0, 1))
        await eventually(lambda: open_descriptors() > before)
        reading.cancel()
        await asyncio.wait([reading])
        held.set()
    assert open_descriptors() == before
    blob.close()


# --- from peers ------------------------------------------------------------------------------------


async def test_what_the_node_lacks_comes_from_a_peer(cluster: Cluster) -> None:
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, BLOB)
    cluster.holds(seed, MANIFEST)
    for path, data in [(BLOB_PATH, BLOB), (MANIFEST_PATH, MANIFEST)]:
        head, answer = await node.http.head(path), await node.http.get(path)
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))
        assert (answer.status_code, answer.content) == (200, data)
        assert answer.headers["heliograph-source"] == head.headers["heliograph-source"] == "peer/seed"
    part = await node.http.get(BLOB_PATH, headers={"range": "bytes=3-1000"})
    assert (part.status_code, part.content) == (206, BLOB[3:1001])
    assert part.headers["content-range"] == f"bytes 3-1000/{len(BLOB)}"


async def test_a_tag_is_what_the_router_says_and_comes_from_its_holder(cluster: Cluster) -> None:
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, MANIFEST)
    cluster.known.tags["reg.test/app:1"] = MANIFEST_DIGEST
    by_ns = await node.http.get("/v2/app/manifests/1?ns=reg.test")
    by_path = await node.http.get("/v2/reg.test/app/manifests/1")
    for answer in (by_ns, by_path):
        assert (answer.status_code, answer.headers["docker-content-digest"]) == (200, MANIFEST_DIGEST)
    assert by_ns.headers["heliograph-source"] == "peer/seed"


async def test_a_tag_of_this_node_needs_no_router(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    node.tell({"reg.test/app:1": node.put(MANIFEST)})
    cluster.known.hangs = True
    answer = await node.http.get("/v2/app/manifests/1?ns=reg.test")
    assert (answer.status_code, answer.headers["heliograph-source"]) == (200, "local")


async def test_a_peers_request_is_served_locally_or_not_at_all(cluster: Cluster) -> None:
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, BLOB)
    node.tell({"reg.test/app:1": node.put(MANIFEST)})
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


# --- routers that fail -----------------------------------------------------------------------------


async def test_a_router_that_is_down_costs_little_and_then_nothing(cluster: Cluster) -> None:
    cluster.router_port = free_port()
    node = await cluster.registry("node")
    first = await node.http.get(BLOB_PATH)
    assert (first.status_code, first.headers["heliograph-reason"]) == (404, "resolver-unavailable")
    began = time.monotonic()
    for _ in range(10):
        assert (await node.http.get(BLOB_PATH)).status_code == 404
    assert (time.monotonic() - began) / 10 < 0.05


async def test_a_router_that_hangs_is_given_up_in_time(cluster: Cluster) -> None:
    cluster.known.hangs = True
    node = await cluster.registry("node")
    began = time.monotonic()
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "resolver-unavailable")
    assert time.monotonic() - began < 1


async def test_a_router_that_is_not_synced_has_not_answered(cluster: Cluster) -> None:
    cluster.known.synced = False
    node = await cluster.registry("node")
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "resolver-unavailable")


# --- the process -----------------------------------------------------------------------------------


async def test_ready_means_a_readable_store_and_nothing_else(cluster: Cluster) -> None:
    cluster.known.hangs = True
    node = await cluster.registry("node")
    assert (await node.http.get(f"{node.admin}/readyz")).status_code == 200
    (node.directory / "blobs").rename(node.directory / "of-no-blob-yet")
    assert (await node.http.get(f"{node.admin}/readyz")).status_code == 200


async def test_a_store_that_is_not_there_yet_is_ready_and_one_that_is_gone_is_not(
    cluster: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "made-by-the-first-blob"
    node = await cluster.registry("a", content_path=store)
    assert (await node.http.get(f"{node.admin}/readyz")).status_code == 200
    (store / "blobs").mkdir(parents=True)
    assert (await node.http.get(f"{node.admin}/readyz")).status_code == 200
    store.rename(tmp_path / "gone")
    answer = await node.http.get(f"{node.admin}/readyz")
    assert (answer.status_code, answer.text) == (503, f"not ready: {store}: not there\n")


async def test_metrics_tell_where_bytes_came_from_and_why_not(cluster: Cluster) -> None:
    seed, node = await cluster.registry("seed"), await cluster.registry("node", registry_filters="/secret/")
    cluster.holds(seed, BLOB)
    digest = node.put(MANIFEST)
    for path in (
        BLOB_PATH,
        MANIFEST_PATH,  # kept, then twice from memory
        MANIFEST_PATH,
        MANIFEST_PATH,
        f"/v2/x/secret/y/blobs/{BLOB_DIGEST}?ns=reg.test",
        f"/v2/app/blobs/{digest_of(b'nowhere')}?ns=other.test",
        f"/v2/app/manifests/{digest}",
    ):
        await node.http.get(path)
    await node.http.get(MANIFEST_PATH, headers={"heliograph-peer": "seed"})
    requests = await counted(node, "heliograph_registry_requests_total")
    assert requests == {
        ("client", "blob", "peer", "none", "reg.test"): 1,
        ("client", "manifest", "local", "none", "reg.test"): 3,
        ("peer", "manifest", "local", "none", "reg.test"): 1,
        ("client", "manifest", "local", "none", "unknown"): 1,
        ("client", "blob", "missed", "filtered", "reg.test"): 1,
        ("client", "blob", "missed", "not-found", "other.test"): 1,
    }
    sent = await counted(node, "heliograph_registry_sent_bytes_total")
    assert sent["client", "peer"] == len(BLOB)
    assert sent["client", "local"] == 4 * len(MANIFEST)
    assert sent["peer", "local"] == len(MANIFEST)
    assert (await counted(seed, "heliograph_registry_sent_bytes_total"))["peer", "local"] == len(BLOB)
    first_bytes = await counted(node, "heliograph_registry_first_byte_seconds_count")
    assert first_bytes == {("blob", "peer"): 1, ("blob", "none"): 2, ("manifest", "local"): 2}
    assert await counted(node, "heliograph_registry_resolve_seconds_count") == {
        ("answered",): 2,
        ("waited",): 0,
        ("failed",): 0,
    }
    assert (await counted(node, "heliograph_registry_peer_requests_total"))["answered",] == 1
    assert await counted(node, "heliograph_registry_transfers_limit") == {(): 128}


async def test_metrics_show_what_is_being_sent(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    digest = node.put(bytes(64 << 20))
    async with node.http.stream("GET", f"/v2/app/blobs/{digest}") as answer:
        chunks = answer.aiter_bytes()
        await anext(chunks)
        assert await counted(node, "heliograph_registry_transfers") == {("client",): 1, ("peer",): 0}
        async for _ in chunks:
            pass

    async def none_left() -> bool:
        return await counted(node, "heliograph_registry_transfers") == {("client",): 0, ("peer",): 0}

    await eventually(none_left)


async def counted(node: Registry, name: str) -> dict[tuple[str, ...], float]:
    """Samples of that name by the values of their labels, in the order of their names."""
    families = text_string_to_metric_families((await node.http.get(f"{node.admin}/metrics")).text)
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in found}


async def test_a_transfer_under_way_is_finished_on_shutdown(cluster: Cluster) -> None:
    node = await cluster.registry("node")
    big = bytes(64 << 20)
    digest = node.put(big)
    async with node.http.stream("GET", f"/v2/app/blobs/{digest}") as answer:
        chunks = answer.aiter_bytes()
        received = len(await anext(chunks))
        node.stop.set()
        async for chunk in chunks:
            received += len(chunk)
    assert received == len(big)

    async def refuses() -> bool:
        try:
            await node.http.get("/v2/")
        except httpx.TransportError:
            return True
        return False

    await eventually(refuses)


async def test_a_client_that_leaves_stops_its_transfer(cluster: Cluster) -> None:
    abandoned = asyncio.Event()

    async def goes_quiet(exchange: Exchange) -> None:
        await exchange.begin(BLOB_DIGEST, len(BLOB))
        await exchange.send(BLOB[:1000])
        await exchange.abandoned()
        abandoned.set()

    await cluster.peer(goes_quiet, "peer")
    node = await cluster.registry("node")
    async with node.http.stream("GET", BLOB_PATH) as answer:
        await anext(answer.aiter_bytes())
    async with asyncio.timeout(3):
        await abandoned.wait()


async def test_a_manifest_that_arrived_in_the_store_is_local_from_then_on(cluster: Cluster) -> None:
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, MANIFEST)
    relayed = await node.http.get(MANIFEST_PATH)
    assert relayed.headers["heliograph-source"] == "peer/seed"
    node.put(MANIFEST)
    for _ in range(2):
        assert (await node.http.get(MANIFEST_PATH)).headers["heliograph-source"] == "local"
