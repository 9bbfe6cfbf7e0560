"""The registry as its clients see it: containerd's requests, peers that fail, routers that are down."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from heliograph_registry.adapters.filesystem import FileContent
from heliograph_shared.digest import digest_of
from tests.integration.registry_support import Registry, serve_registry
from tests.support.bad_peer import BadPeer, Exchange
from tests.support.ports import free_port
from tests.support.resolver import KnownContent, serve_resolver
from tests.support.waiting import eventually

MANIFEST = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()
MANIFEST_DIGEST = digest_of(MANIFEST)
BLOB = bytes(range(256)) * 12_345
BLOB_DIGEST = digest_of(BLOB)
MANIFEST_PATH = f"/v2/app/manifests/{MANIFEST_DIGEST}?ns=reg.test"
BLOB_PATH = f"/v2/app/blobs/{BLOB_DIGEST}?ns=reg.test"


class Cluster:
    """Registries around one router, which knows what the test tells it."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.known, self.router_port = KnownContent(), free_port()
        self._directory, self._stack = directory, stack
        self._registries: list[Registry] = []

    async def registry(self, name: str, **settings: object) -> Registry:
        serving = serve_registry(self._directory / name, name, self.router_port, **settings)
        registry = await self._stack.enter_async_context(serving)
        self._registries.append(registry)
        return registry

    def stop(self) -> None:
        """All at once, which is quicker than one after the other."""
        for registry in self._registries:
            registry.stop.set()

    async def peer(self, behaviour: Callable[[Exchange], object], name: str, data: bytes = BLOB) -> BadPeer:
        peer = await self._stack.enter_async_context(BadPeer(behaviour).serve())  # type: ignore[arg-type]
        self.known.holds(name, peer.address, digest_of(data), len(data))
        return peer

    def holds(self, registry: Registry, data: bytes) -> None:
        self.known.holds(registry.name, registry.address, registry.put(data), len(data))


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        made = Cluster(tmp_path, stack)
        await stack.enter_async_context(serve_resolver(made.known, made.router_port))
        yield made
        made.stop()


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


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_read_that_is_cancelled_before_it_began_leaves_no_descriptor(tmp_path: Path) -> None:
    digest = digest_of(BLOB)
    path = tmp_path / "blobs" / "sha256" / digest[7:]
    path.parent.mkdir(parents=True)
    path.write_bytes(BLOB)
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


# --- what peers do wrong ---------------------------------------------------------------------------


async def refuses_politely(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


async def breaks(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")


async def redirects(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")


async def says_nothing(exchange: Exchange) -> None:
    await asyncio.sleep(60)


async def hangs_up(exchange: Exchange) -> None:
    exchange.reset()


async def talks_without_end(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"x-more: and more\r\n" * 1000)


async def speaks_garbage(exchange: Exchange) -> None:
    await exchange.send(b"\x00\xff nonsense\r\n\r\n" * 10)


async def promises_only(exchange: Exchange) -> None:
    await exchange.begin(BLOB_DIGEST, len(BLOB))
    await asyncio.sleep(60)


async def has_another_size(exchange: Exchange) -> None:
    await exchange.begin(BLOB_DIGEST, len(BLOB) + 1)
    await exchange.send(BLOB + b"x")


async def has_another_digest(exchange: Exchange) -> None:
    await exchange.begin(MANIFEST_DIGEST, len(BLOB))
    await exchange.send(BLOB)


async def has_nothing(exchange: Exchange) -> None:
    await exchange.begin(BLOB_DIGEST, 0)


async def sends_chunks(exchange: Exchange) -> None:
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDocker-Content-Digest: {BLOB_DIGEST}\r\n\r\n"
    await exchange.send(head.encode() + b"1\r\nx\r\n0\r\n\r\n")


NEVER_STARTS = [
    refuses_politely, breaks, redirects, says_nothing, hangs_up, talks_without_end, speaks_garbage,
    promises_only, has_another_size, has_another_digest, has_nothing, sends_chunks,
]  # fmt: skip


@pytest.mark.parametrize("behaviour", NEVER_STARTS)
async def test_a_peer_that_does_not_deliver_is_passed_over(
    cluster: Cluster, behaviour: Callable[[Exchange], object]
) -> None:
    for name in ("bad-1", "bad-2"):
        await cluster.peer(behaviour, name)
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, BLOB)
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.content) == (200, BLOB)
    assert answer.headers["heliograph-source"] == "peer/seed"


@pytest.mark.parametrize("behaviour", NEVER_STARTS)
async def test_when_no_peer_delivers_the_answer_is_a_quick_404(
    cluster: Cluster, behaviour: Callable[[Exchange], object]
) -> None:
    for name in ("bad-1", "bad-2", "bad-3"):
        await cluster.peer(behaviour, name)
    node = await cluster.registry("node")
    began = time.monotonic()
    answer = await node.http.get(BLOB_PATH)
    assert answer.status_code == 404
    assert answer.headers["heliograph-reason"] in {"peers-failed", "timeout"}
    assert time.monotonic() - began < 1


async def test_nobody_listening_at_a_peer_is_a_quick_404(cluster: Cluster) -> None:
    for name in ("gone-1", "gone-2", "gone-3"):
        cluster.known.holds(name, f"127.0.0.1:{free_port()}", BLOB_DIGEST, len(BLOB))
    node = await cluster.registry("node")
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "peers-failed")


async def test_wrong_manifest_bytes_never_reach_the_client(cluster: Cluster) -> None:
    wrong = MANIFEST[:-1] + b" "

    async def lies(exchange: Exchange) -> None:
        await exchange.begin(MANIFEST_DIGEST, len(wrong))
        await exchange.send(wrong)

    await cluster.peer(lies, "liar", MANIFEST)
    node = await cluster.registry("node")
    assert (await node.http.get(MANIFEST_PATH)).status_code == 404
    seed = await cluster.registry("seed")
    cluster.holds(seed, MANIFEST)
    assert (await node.http.get(MANIFEST_PATH)).content == MANIFEST


async def sends_another_range(exchange: Exchange) -> None:
    head = f"HTTP/1.1 206 x\r\nContent-Length: {len(BLOB)}\r\nDocker-Content-Digest: {BLOB_DIGEST}\r\n"
    await exchange.send(f"{head}Content-Range: bytes 0-{len(BLOB) - 1}/{len(BLOB)}\r\n\r\n".encode() + BLOB)


async def denies_the_range(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 416 x\r\nContent-Length: 0\r\nContent-Range: bytes */5\r\n\r\n")


@pytest.mark.parametrize("behaviour", [sends_another_range, denies_the_range])
async def test_a_peer_that_answers_another_range_is_passed_over(
    cluster: Cluster, behaviour: Callable[[Exchange], object]
) -> None:
    async def only_begins(exchange: Exchange) -> None:
        if exchange.first != 17:
            return await behaviour(exchange)  # type: ignore[misc,no-any-return]
        return await stops_after(1000, "end")(exchange)  # type: ignore[misc,no-any-return]

    for name in ("bad-1", "bad-2"):
        await cluster.peer(behaviour, name)
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, BLOB)
    part = await node.http.get(BLOB_PATH, headers={"range": "bytes=17-"})
    assert (part.status_code, part.content) == (206, BLOB[17:])
    cluster.known.holders.clear()
    await cluster.peer(only_begins, "dying")
    await cluster.peer(behaviour, "bad")
    cluster.holds(seed, BLOB)
    part = await node.http.get(BLOB_PATH, headers={"range": "bytes=17-"})
    assert (part.status_code, part.content) == (206, BLOB[17:])


@pytest.mark.parametrize("size_bytes", [0, len(BLOB) - 1])
async def test_a_head_does_not_take_a_peers_wrong_size(cluster: Cluster, size_bytes: int) -> None:
    async def answers(exchange: Exchange) -> None:
        await exchange.begin(BLOB_DIGEST, size_bytes)

    await cluster.peer(answers, "peer")
    node = await cluster.registry("node")
    assert (await node.http.head(BLOB_PATH)).status_code == 404


async def test_an_empty_body_of_a_peer_is_not_taken_where_the_size_is_unknown(cluster: Cluster) -> None:
    await cluster.peer(has_nothing, "peer")
    cluster.known.sizes[BLOB_DIGEST] = 0
    node = await cluster.registry("node")
    assert (await node.http.get(BLOB_PATH)).status_code == 404


@pytest.mark.parametrize("address", ["a..b:5000", "x" * 64 + ".test:5000", "[zz]:1", ":1", "%:1", "nowhere"])
async def test_an_address_that_is_none_is_a_peer_that_failed(cluster: Cluster, address: str) -> None:
    cluster.known.holds("peer", address, BLOB_DIGEST, len(BLOB))
    node = await cluster.registry("node")
    assert (await node.http.get(BLOB_PATH)).status_code == 404


async def test_every_address_of_a_peers_name_is_tried(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def two_addresses(host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        if host != "seed.test":
            return look_up(host, port, *args, **more)
        return [*look_up("127.0.0.99", port, *args, **more), *look_up("127.0.0.1", port, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, BLOB)
    cluster.known.nodes["seed"] = [seed.address.replace("127.0.0.1", "seed.test")]
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.content) == (200, BLOB)


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "knoten-\u00e4"])
async def test_a_strange_node_name_breaks_no_answer(cluster: Cluster, name: str) -> None:
    async def answers(exchange: Exchange) -> None:
        await exchange.begin(BLOB_DIGEST, len(BLOB))
        await exchange.send(BLOB)

    await cluster.peer(answers, name)
    node = await cluster.registry("a", node_name=name[::-1])
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.content) == (200, BLOB)


def stops_after(count: int, how: str) -> Callable[[Exchange], object]:
    async def behaviour(exchange: Exchange) -> None:
        await exchange.begin(BLOB_DIGEST, len(BLOB))
        await exchange.send(BLOB[exchange.first : exchange.first + count])
        if how == "reset":
            exchange.reset()

    return behaviour


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("count", [1, 1_000_000, len(BLOB) - 1])
async def test_a_peer_that_dies_underway_is_replaced(cluster: Cluster, how: str, count: int) -> None:
    await cluster.peer(stops_after(count, how), "dying")
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, BLOB)
    for header, status, expected in [(None, 200, BLOB), ("bytes=17-", 206, BLOB[17:])]:
        answer = await node.http.get(BLOB_PATH, headers={"range": header} if header else {})
        assert (answer.status_code, answer.content) == (status, expected)


async def test_a_peer_that_dies_at_every_step_is_not_asked_without_end(cluster: Cluster) -> None:
    peer = await cluster.peer(stops_after(100, "end"), "dying")
    node = await cluster.registry("node")
    with pytest.raises(httpx.RemoteProtocolError, match="closed connection"):
        await node.http.get(BLOB_PATH)
    assert 1 < len(peer.requests) < 50


async def test_with_nobody_left_the_body_ends_with_a_fin(cluster: Cluster) -> None:
    async def dies_once_and_for_all(exchange: Exchange) -> None:
        if not exchange.first:
            await exchange.begin(BLOB_DIGEST, len(BLOB))
            await exchange.send(BLOB[:1_000_000])
        exchange.reset()

    await cluster.peer(dies_once_and_for_all, "dying")
    node = await cluster.registry("node")
    host, port = node.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {BLOB_PATH} HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    received = await reader.read(-1)  # an RST would raise
    writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert 1 <= len(body) < len(BLOB)
    assert body == BLOB[: len(body)]


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


async def test_metrics_tell_where_bytes_came_from(cluster: Cluster) -> None:
    node = await cluster.registry("node")
    node.put(BLOB)
    await node.http.get(BLOB_PATH)
    families = text_string_to_metric_families((await node.http.get(f"{node.admin}/metrics")).text)
    samples = [sample for family in families for sample in family.samples]
    sent = [sample for sample in samples if sample.name == "heliograph_registry_sent_bytes_total"]
    assert [(sample.labels["source"], sample.value) for sample in sent] == [("local", len(BLOB))]


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
    with pytest.raises(httpx.TransportError):
        await node.http.get("/v2/")


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
