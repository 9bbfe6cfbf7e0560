"""Peers that fail, before or after their first byte, and what the client gets."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

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


async def has_no_blob(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


async def has_an_internal_error(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")


async def redirects(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")


async def never_answers(exchange: Exchange) -> None:
    await asyncio.sleep(60)


async def resets(exchange: Exchange) -> None:
    exchange.reset()


async def sends_endless_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"x-more: and more\r\n" * 1000)


async def sends_garbage(exchange: Exchange) -> None:
    await exchange.send(b"\x00\xff nonsense\r\n\r\n" * 10)


async def sends_only_headers(exchange: Exchange) -> None:
    await exchange.begin(BLOB_DIGEST, len(BLOB))
    await asyncio.sleep(60)


async def has_another_size(exchange: Exchange) -> None:
    await exchange.begin(BLOB_DIGEST, len(BLOB) + 1)
    await exchange.send(BLOB + b"x")


async def has_another_digest(exchange: Exchange) -> None:
    await exchange.begin(MANIFEST_DIGEST, len(BLOB))
    await exchange.send(BLOB)


async def sends_an_empty_body(exchange: Exchange) -> None:
    await exchange.begin(BLOB_DIGEST, 0)


async def sends_chunks(exchange: Exchange) -> None:
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDocker-Content-Digest: {BLOB_DIGEST}\r\n\r\n"
    await exchange.send(head.encode() + b"1\r\nx\r\n0\r\n\r\n")


NEVER_STARTS = [
    has_no_blob, has_an_internal_error, redirects, never_answers, resets, sends_endless_headers,
    sends_garbage, sends_only_headers, has_another_size, has_another_digest, sends_an_empty_body,
    sends_chunks,
]  # fmt: skip


@pytest.mark.parametrize("behaviour", NEVER_STARTS)
async def test_another_peer_replaces_one_that_does_not_deliver(
    cluster: Cluster, behaviour: Callable[[Exchange], object]
) -> None:
    for name in ("bad-1", "bad-2"):
        await cluster.peer(behaviour, name)
    seed, node = await cluster.registry("seed"), await cluster.registry("node", first_byte_timeout_ms=2000)
    cluster.holds(seed, BLOB)
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.content) == (200, BLOB)
    assert answer.headers["heliograph-source"] == "peer/seed"


@pytest.mark.parametrize("behaviour", NEVER_STARTS)
async def test_if_no_peer_delivers_the_answer_is_a_quick_404(
    cluster: Cluster, behaviour: Callable[[Exchange], object]
) -> None:
    for name in ("bad-1", "bad-2", "bad-3"):
        await cluster.peer(behaviour, name)
    node = await cluster.registry("node", **IMPATIENT)
    began = time.monotonic()
    answer = await node.http.get(BLOB_PATH)
    assert answer.status_code == 404
    assert answer.headers["heliograph-reason"] in {"peers-failed", "timeout"}
    assert time.monotonic() - began < 5


async def test_peers_whose_ports_are_closed_are_a_quick_404(cluster: Cluster) -> None:
    for name in ("gone-1", "gone-2", "gone-3"):
        cluster.known.holds(name, f"127.0.0.1:{free_port()}", BLOB_DIGEST, len(BLOB))
    node = await cluster.registry("node")
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "peers-failed")


async def test_wrong_manifest_bytes_never_reach_the_client(cluster: Cluster) -> None:
    wrong = MANIFEST[:-1] + b" "

    async def sends_wrong_bytes(exchange: Exchange) -> None:
        await exchange.begin(MANIFEST_DIGEST, len(wrong))
        await exchange.send(wrong)

    await cluster.peer(sends_wrong_bytes, "bad", MANIFEST)
    node = await cluster.registry("node")
    assert (await node.http.get(MANIFEST_PATH)).status_code == 404
    seed = await cluster.registry("seed")
    cluster.holds(seed, MANIFEST)
    assert (await node.http.get(MANIFEST_PATH)).content == MANIFEST


async def sends_another_range(exchange: Exchange) -> None:
    head = f"HTTP/1.1 206 x\r\nContent-Length: {len(BLOB)}\r\nDocker-Content-Digest: {BLOB_DIGEST}\r\n"
    await exchange.send(f"{head}Content-Range: bytes 0-{len(BLOB) - 1}/{len(BLOB)}\r\n\r\n".encode() + BLOB)


async def refuses_the_range(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 416 x\r\nContent-Length: 0\r\nContent-Range: bytes */5\r\n\r\n")


@pytest.mark.parametrize("behaviour", [sends_another_range, refuses_the_range])
async def test_another_peer_replaces_one_that_sends_another_range(
    cluster: Cluster, behaviour: Callable[[Exchange], object]
) -> None:
    async def stops_early(exchange: Exchange) -> None:
        if exchange.first != 17:
            return await behaviour(exchange)  # type: ignore[misc,no-any-return]
        return await stops_after(1000, "end")(exchange)  # type: ignore[misc,no-any-return]

    for name in ("bad-1", "bad-2"):
        await cluster.peer(behaviour, name)
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, BLOB)
    ranged = await node.http.get(BLOB_PATH, headers={"range": "bytes=17-"})
    assert (ranged.status_code, ranged.content) == (206, BLOB[17:])
    cluster.known.holders.clear()
    await cluster.peer(stops_early, "dying")
    await cluster.peer(behaviour, "bad")
    cluster.holds(seed, BLOB)
    ranged = await node.http.get(BLOB_PATH, headers={"range": "bytes=17-"})
    assert (ranged.status_code, ranged.content) == (206, BLOB[17:])


@pytest.mark.parametrize("size_bytes", [0, len(BLOB) - 1])
async def test_a_head_does_not_pass_on_a_peers_wrong_size(cluster: Cluster, size_bytes: int) -> None:
    async def answers(exchange: Exchange) -> None:
        await exchange.begin(BLOB_DIGEST, size_bytes)

    await cluster.peer(answers, "peer")
    node = await cluster.registry("node")
    assert (await node.http.head(BLOB_PATH)).status_code == 404


async def test_a_peers_empty_body_is_refused_even_if_the_size_is_unknown(cluster: Cluster) -> None:
    await cluster.peer(sends_an_empty_body, "peer")
    cluster.known.sizes.clear()
    node = await cluster.registry("node")
    assert (await node.http.get(BLOB_PATH)).status_code == 404


@pytest.mark.parametrize("address", ["a..b:5000", "x" * 64 + ".test:5000", "[zz]:1", ":1", "%:1", "nowhere"])
async def test_a_peer_with_an_invalid_address_counts_as_failed(cluster: Cluster, address: str) -> None:
    cluster.known.holds("peer", address, BLOB_DIGEST, len(BLOB))
    node = await cluster.registry("node")
    assert (await node.http.get(BLOB_PATH)).status_code == 404


async def test_every_address_of_a_peers_host_name_is_tried(
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
async def test_node_names_may_contain_any_character(cluster: Cluster, name: str) -> None:
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
async def test_another_peer_replaces_one_that_dies_in_the_middle(
    cluster: Cluster, how: str, count: int
) -> None:
    await cluster.peer(stops_after(count, how), "dying")
    seed, node = await cluster.registry("seed"), await cluster.registry("node")
    cluster.holds(seed, BLOB)
    for header, status, expected in [(None, 200, BLOB), ("bytes=17-", 206, BLOB[17:])]:
        answer = await node.http.get(BLOB_PATH, headers={"range": header} if header else {})
        assert (answer.status_code, answer.content) == (status, expected)


async def test_a_peer_that_dies_again_and_again_is_given_up(cluster: Cluster) -> None:
    peer = await cluster.peer(stops_after(100, "end"), "dying")
    node = await cluster.registry("node")
    with pytest.raises(httpx.RemoteProtocolError, match="closed connection"):
        await node.http.get(BLOB_PATH)
    assert 1 < len(peer.requests) < 50


async def test_if_no_peer_is_left_the_body_ends_with_a_fin(cluster: Cluster) -> None:
    async def dies_for_good(exchange: Exchange) -> None:
        if not exchange.first:
            await exchange.begin(BLOB_DIGEST, len(BLOB))
            await exchange.send(BLOB[:1_000_000])
        exchange.reset()

    await cluster.peer(dies_for_good, "dying")
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
