"""A registry serves its node's content: manifests, blobs, ranges, and the spec's errors."""

import asyncio
import json
import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heliograph_registry.adapters.filesystem import FileContent, Readers
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
from tests.support.descriptors import open_descriptors
from tests.support.page_cache import evict
from tests.support.waiting import eventually


async def test_a_ping_says_that_this_is_a_registry(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    for path in ("/v2/", "/v2", "/docker.io/v2/"):
        answer = await node.http.get(path)
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


async def test_a_manifest_of_an_incomplete_image_is_served_to_containerd_alone(cluster: Cluster) -> None:
    """Each twice: the second request may be answered from memory."""
    node = await cluster.registry("a")
    layers = [{"digest": digest_of(b"nowhere"), "size": 7}]
    digest = node.put(json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}).encode())
    for _ in range(2):
        by_ns = await node.http.get(f"/v2/app/manifests/{digest}?ns=reg.test")
        in_path = await node.http.get(f"/v2/reg.test/app/manifests/{digest}")
        assert by_ns.status_code == 200
        assert (in_path.status_code, in_path.headers["heliograph-reason"]) == (404, "incomplete")


async def test_long_paths_are_not_cached(cluster: Cluster) -> None:
    """A client may send thousands a second, each as long as a request head may be."""
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
        ranged = await node.http.get(BLOB_PATH, headers={"range": header})
        assert (ranged.status_code, ranged.content) == (206, expected)
        assert ranged.headers["content-range"].endswith(f"/{len(BLOB)}")
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
        ("GET", "/library/v2/app/manifests/latest", 404, "UNSUPPORTED"),
        ("PUT", "/v2/app/manifests/latest", 405, "UNSUPPORTED"),
        ("POST", "/v2/app/blobs/uploads/", 405, "UNSUPPORTED"),
        ("DELETE", MANIFEST_PATH, 405, "UNSUPPORTED"),
    ],
)
async def test_invalid_requests_get_the_errors_of_the_spec(
    cluster: Cluster, method: str, path: str, status: int, code: str
) -> None:
    node = await cluster.registry("a")
    answer = await node.http.request(method, path)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
    assert answer.headers["heliograph-reason"]
    assert answer.headers["heliograph-source"] == "none"


async def test_only_get_and_head_are_allowed(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    for method in ("PUT", "POST", "PATCH", "DELETE", "OPTIONS"):
        for path in ("/v2/", "/v2/app/tags/list", BLOB_PATH, f"/docker.io{MANIFEST_PATH}"):
            answer = await node.http.request(method, path)
            assert (answer.status_code, answer.headers["heliograph-reason"]) == (405, "read-only")
            assert {allowed.strip() for allowed in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


async def test_docker_names_the_registry_before_the_path(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    digest = node.put(MANIFEST)
    node.put(BLOB)
    node.write_state({"docker.io/library/app:1": digest})
    for method in ("HEAD", "GET"):
        answer = await node.http.request(method, "/docker.io/v2/library/app/manifests/1")
        assert (answer.status_code, answer.headers["docker-content-digest"]) == (200, digest)
    for path in (f"manifests/{digest}", f"blobs/{BLOB_DIGEST}"):
        answer = await node.http.get(f"/docker.io/v2/library/app/{path}")
        assert (answer.status_code, answer.headers["heliograph-source"]) == (200, "local")
    absent = await node.http.get("/docker.io/v2/library/other/manifests/1")
    assert (absent.status_code, absent.headers["heliograph-reason"]) == (404, "not-found")


async def test_what_a_mirror_does_not_offer_is_said(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    for path in ("/v2/app/tags/list", f"/v2/app/referrers/{MANIFEST_DIGEST}", "/v2/_catalog", "/metrics"):
        answer = await node.http.get(path)
        assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "unsupported")
        assert answer.json()["errors"][0]["code"] == "UNSUPPORTED"


@pytest.mark.parametrize(
    "garbage",
    [
        b"nonsense\r\n\r\n",
        b"GET /v2/\x00\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nUser-Agent: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n",
    ],
    ids=["nonsense", "control characters", "no host", "two hosts", "two hosts in HTTP 1.0"],
)
async def test_bytes_that_are_not_http_get_the_errors_of_the_spec(cluster: Cluster, garbage: bytes) -> None:
    node = await cluster.registry("a")
    head, _, body = (await raw_answer(node, garbage)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nheliograph-reason: invalid\r\n" in head
    assert json.loads(body)["errors"][0]["code"] == "UNSUPPORTED"


async def test_http_1_0_needs_no_host(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    assert (await raw_answer(node, b"GET /v2/ HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def raw_answer(node: Registry, request: bytes) -> bytes:
    """All bytes until the registry closes the connection."""
    host, port = node.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read(-1)
    writer.close()
    return answer


async def test_a_malformed_second_request_does_not_corrupt_the_first_answer(cluster: Cluster) -> None:
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


async def test_a_manifest_with_corrupt_bytes_is_not_served(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    (node.directory / "blobs" / "sha256" / MANIFEST_DIGEST[7:]).write_bytes(MANIFEST + b" ")
    assert (await node.http.get(MANIFEST_PATH)).status_code == 404


async def test_an_unreadable_blob_comes_from_a_peer(cluster: Cluster) -> None:
    node, other = await cluster.registry("a"), await cluster.registry("b")
    (node.directory / "blobs" / "sha256" / BLOB_DIGEST[7:]).mkdir()
    cluster.holds(other, BLOB)
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.content) == (200, BLOB)
    assert answer.headers["heliograph-source"] == "peer/b"


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("kind", ["directory", "pipe", "emptied"])
async def test_only_regular_files_with_content_are_served(cluster: Cluster, method: str, kind: str) -> None:
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


async def test_a_read_that_is_cancelled_before_it_starts_leaks_no_descriptor(tmp_path: Path) -> None:
    digest = digest_of(BLOB)
    path = tmp_path / "blobs" / "sha256" / digest[7:]
    path.parent.mkdir(parents=True)
    path.write_bytes(BLOB)
    evict(path)
    with ThreadPoolExecutor(1) as readers:
        blob = await FileContent(tmp_path, Readers(readers, readers)).open(digest)
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
