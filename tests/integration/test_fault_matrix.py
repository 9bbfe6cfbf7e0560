"""Every fault of a peer, with whole and ranged requests, with and without a good peer.

A client gets all bytes, or a 404 before the first byte, or a FIN after some right bytes. It never gets an
RST, nor a wrong byte of a blob that it requests again.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heliograph_registry.mirror import blobs
from heliograph_registry.mirror.deadline import LONGEST_S
from tests.integration.registry_support import BLOB, BLOB_DIGEST, BLOB_PATH, Cluster, Registry
from tests.support.bad_peer import Exchange
from tests.support.ports import free_port
from tests.support.resolver import serve_resolver
from tests.support.waiting import eventually

Behaviour = Callable[[Exchange], Coroutine[Any, Any, None]]

SIZE = len(BLOB)
FIRST_BYTE_S = 1  # where no answer is expected; elsewhere the limit is generous
SLACK_S = 8  # the machine may be busy
RANGES = {
    None: (0, SIZE),
    "bytes=17-": (17, SIZE),
    "bytes=100-2000000": (100, 2_000_001),
    "bytes=-9": (SIZE - 9, SIZE),
}


async def slow_headers(exchange: Exchange) -> None:
    for character in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n":
        await exchange.send(bytes([character]))
        await asyncio.sleep(0.1)


async def endless_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"x-more: and more\r\n" * 100)


def answers(status: str) -> Behaviour:
    async def behaviour(exchange: Exchange) -> None:
        await exchange.send(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    return behaviour


async def _send_head(exchange: Exchange) -> bytes:
    """Send the head of a good answer. Returns the bytes that should follow."""
    first, end = exchange.span(SIZE)
    await exchange.begin(BLOB_DIGEST, SIZE, last=end - 1)
    return BLOB[first:end]


def stops_after(share: float, how: str) -> Behaviour:
    async def behaviour(exchange: Exchange) -> None:
        body = await _send_head(exchange)
        await exchange.send(body[: max(1, int(len(body) * share) - 1)])
        if how == "reset":
            exchange.reset()
        elif how == "stall":
            await exchange.abandoned()

    return behaviour


def announces(more: int) -> Behaviour:
    async def behaviour(exchange: Exchange) -> None:
        first, end = exchange.span(SIZE)
        await exchange.begin(BLOB_DIGEST, SIZE + more, last=end - 1 + more)
        await exchange.send(BLOB[first:end] + b"x" * max(0, more))

    return behaviour


async def sends_almost_nothing(exchange: Exchange) -> None:
    for byte in await _send_head(exchange):
        await exchange.send(bytes([byte]))
        await asyncio.sleep(0.2)


async def wrong_bytes(exchange: Exchange) -> None:
    body = bytearray(await _send_head(exchange))
    body[len(body) // 2] ^= 1
    await exchange.send(bytes(body))


FAULTS: dict[str, Behaviour] = {
    "slow headers": slow_headers,
    "endless headers": endless_headers,
    "404": answers("404 Not Found"),
    "500": answers("500 Internal Server Error"),
    "503": answers("503 Service Unavailable"),
    "truncated at once": stops_after(0, "end"),
    "truncated": stops_after(0.5, "end"),
    "truncated at the end": stops_after(1, "end"),
    "reset at once": stops_after(0, "reset"),
    "reset": stops_after(0.5, "reset"),
    "reset at the end": stops_after(1, "reset"),
    "stalled at once": stops_after(0, "stall"),
    "stalled": stops_after(0.9, "stall"),
    "longer": announces(5),
    "shorter": announces(-5),
    "a byte now and then": sends_almost_nothing,
}


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    length: int
    reset: bool
    first_byte_s: float


async def ask(registry: Registry, wanted: str | None) -> Answer:
    """Send a request on a raw socket, to tell a FIN from an RST."""
    host, port = registry.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 24)
    began = time.monotonic()
    line = f"Range: {wanted}\r\n" if wanted else ""
    writer.write(f"GET {BLOB_PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{line}\r\n".encode())
    received, reset, first_byte_s = bytearray(), False, 0.0
    try:
        async with asyncio.timeout(20):
            while piece := await reader.read(1 << 20):
                first_byte_s = first_byte_s or time.monotonic() - began
                received += piece
    except ConnectionError:
        reset = True
    writer.close()
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:])
    return Answer(int(head.split()[1]), body, int(fields["content-length"]), reset, first_byte_s)


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[Cluster]:
    directory.mkdir()  # noqa: ASYNC240
    async with AsyncExitStack() as stack:
        made = Cluster(directory, stack)
        await stack.enter_async_context(serve_resolver(made.known, made.router_port))
        yield made
        made.stop()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Checks that the cluster leaves no descriptor, task or thread behind."""
    async with world(tmp_path / "before") as before:
        await before.registry("warm-up")  # creates what stays for the whole process, such as gRPC's threads
    tasks, descriptors = len(asyncio.all_tasks()), open_descriptors()
    async with world(tmp_path / "world") as made:
        yield made

    def nothing_more() -> bool:
        threads = {thread.name.partition("_")[0] for thread in threading.enumerate()}
        kept = open_descriptors() - descriptors
        return not kept and len(asyncio.all_tasks()) <= tasks and not threads & {"pump", "read"}

    await eventually(
        nothing_more,
        message=lambda: f"{open_descriptors() - descriptors} {asyncio.all_tasks()} {threading.enumerate()}",
    )


def open_descriptors() -> set[str]:
    """The targets of all open descriptors; sockets and pipes are named by their inodes."""
    links = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor that lists the others
            links.add(str(link.readlink()))
    return links


async def node_of(cluster: Cluster, number: int = 0) -> Registry:
    return await cluster.registry(f"node-{number}", peer_stall_timeout_s=1.0)


async def impatient_node(cluster: Cluster, number: int = 0) -> Registry:
    return await cluster.registry(
        f"impatient-{number}", peer_stall_timeout_s=0.4, first_byte_timeout_ms=FIRST_BYTE_S * 1000
    )


async def good_peer(cluster: Cluster) -> None:
    cluster.holds(await cluster.registry("good"), BLOB)


@pytest.mark.parametrize("fault", FAULTS)
async def test_with_a_good_peer_every_byte_arrives(cluster: Cluster, fault: str) -> None:
    await cluster.peer(FAULTS[fault], "bad")
    await good_peer(cluster)
    for number, (wanted, (first, end)) in enumerate(RANGES.items()):
        node = await node_of(cluster, number)  # a new node has no history with the bad peer
        answer = await ask(node, wanted)
        assert answer.status == (206 if wanted else 200)
        assert answer.body == BLOB[first:end]
        assert not answer.reset


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_a_good_peer_the_client_gets_a_404_or_a_fin_after_right_bytes(
    cluster: Cluster, fault: str
) -> None:
    await cluster.peer(FAULTS[fault], "bad")
    for number, (wanted, (first, end)) in enumerate(RANGES.items()):
        node = await impatient_node(cluster, number)
        answer = await ask(node, wanted)
        assert not answer.reset
        assert answer.first_byte_s < FIRST_BYTE_S + SLACK_S
        if answer.status == 404:
            continue
        assert answer.status == (206 if wanted else 200)
        assert answer.length == end - first
        assert answer.body == BLOB[first : first + len(answer.body)]
        assert answer.body


@pytest.mark.parametrize("wanted", RANGES)
async def test_a_good_peer_replaces_one_whose_port_is_closed(cluster: Cluster, wanted: str | None) -> None:
    cluster.known.holds("gone", f"127.0.0.1:{free_port()}", BLOB_DIGEST, SIZE)
    node = await node_of(cluster)
    assert (await ask(node, wanted)).status == 404
    await good_peer(cluster)
    first, end = RANGES[wanted]
    assert (await ask(node, wanted)).body == BLOB[first:end]


@pytest.mark.parametrize("wanted", RANGES)
async def test_a_good_peer_replaces_one_that_never_accepts(cluster: Cluster, wanted: str | None) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as black_hole:
        address = black_hole.getsockname()
        full = [socket.socket() for _ in range(4)]
        for waiting in full:  # fill the listen queue, so that further SYNs are dropped
            waiting.setblocking(False)
            waiting.connect_ex(address)
        cluster.known.holds("hole", f"127.0.0.1:{address[1]}", BLOB_DIGEST, SIZE)
        answer = await ask(await impatient_node(cluster), wanted)
        assert (answer.status, answer.reset) == (404, False)
        assert answer.first_byte_s < FIRST_BYTE_S + SLACK_S
        await good_peer(cluster)
        first, end = RANGES[wanted]
        assert (await ask(await node_of(cluster), wanted)).body == BLOB[first:end]
        for waiting in full:
            waiting.close()


@pytest.mark.parametrize("wanted", [None, "bytes=0-", "bytes=100-"])
async def test_wrong_bytes_are_not_sent_twice(cluster: Cluster, wanted: str | None, tmp_path: Path) -> None:
    await cluster.peer(wrong_bytes, "bad")
    node = await cluster.registry("node", spool_path=tmp_path)
    first, end = 100 if wanted == "bytes=100-" else 0, SIZE
    answer = await ask(node, wanted)
    assert len(answer.body) == end - first  # only containerd hashes the bytes, and fails the pull
    assert (await ask(node, wanted)).status == (404 if wanted is None else 206)
    assert (await ask(node, wanted)).status == 404
    await good_peer(cluster)
    again = await ask(node, wanted)
    assert again.body == BLOB[first:end]
    assert not any("tmp" in name for name in os.listdir(tmp_path))  # noqa: PTH208 - not in the loop's way


async def test_a_small_range_again_moves_only_its_bytes(cluster: Cluster, tmp_path: Path) -> None:
    """As lazy snapshotters ask, and clients that look at the first bytes of a layer."""
    good = await cluster.registry("good")
    cluster.holds(good, BLOB)
    node = await cluster.registry("node", spool_path=tmp_path)
    for _ in range(5):
        answer = await ask(node, "bytes=0-1")
        assert (answer.status, answer.body) == (206, BLOB[:2])

    async def counted() -> bool:
        return await sent_to_peers(good) == 10

    await eventually(counted)


async def sent_to_peers(node: Registry) -> float:
    """In bytes, as the node's metrics say."""
    metrics = (await node.http.get(f"{node.admin}/metrics")).text
    lines = (
        line for line in metrics.splitlines() if line.startswith("heliograph_registry_sent_bytes_total{")
    )
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'requester="peer"' in line)


async def test_a_repeat_that_is_not_hashed_in_time_is_refused(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before containerd gives up on a mirror that sends no header."""
    assert blobs._VERIFY_TIMEOUT_S < LONGEST_S
    monkeypatch.setattr(blobs, "_VERIFY_TIMEOUT_S", 1.0)
    repeated = False

    async def drips_when_asked_again(exchange: Exchange) -> None:
        await exchange.begin(BLOB_DIGEST, SIZE)
        while repeated:
            await exchange.send(b"x" * 100)
            await asyncio.sleep(0.01)
        await exchange.send(BLOB)

    await cluster.peer(drips_when_asked_again, "slow")
    node = await cluster.registry("node", spool_path=tmp_path)
    assert (await ask(node, None)).body == BLOB
    repeated = True
    began = time.monotonic()
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "not-verified")
    assert 0.9 < time.monotonic() - began < 1 + SLACK_S
    assert not any("tmp" in name for name in os.listdir(tmp_path))  # noqa: PTH208 - not in the loop's way
