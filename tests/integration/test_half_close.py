"""Clients that close their sending half after their requests, on the event loop that the service runs on."""

import asyncio
import os
import socket
import struct

import pytest

from heliograph_shared.digest import digest_of
from tests.integration.registry_support import BLOB, BLOB_DIGEST, BLOB_PATH, MANIFEST, MANIFEST_PATH, Cluster
from tests.integration.test_transfers import connect
from tests.support.bad_peer import Exchange
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

BIG = os.urandom(1 << 20) * 24


@pytest.mark.parametrize("source", ["store", "peer"])
async def test_a_client_that_closes_its_sending_half_gets_its_answers(cluster: Cluster, source: str) -> None:
    node = await cluster.registry("node")
    other = await cluster.registry("other")
    cluster.holds(node if source == "store" else other, BIG)
    cluster.holds(node, MANIFEST)
    blob_path = f"/v2/app/blobs/{digest_of(BIG)}"
    reader, writer = await connect(node)
    for path in (blob_path, MANIFEST_PATH):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    writer.write_eof()
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(len(BIG)) == BIG
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    assert await reader.read() == MANIFEST
    writer.close()


async def test_a_client_that_closes_its_sending_half_is_gone_if_there_is_nothing_to_send(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else tells a client that closes its connection from it."""
    monkeypatch.setattr("heliograph_registry.adapters.http_server.protocol._SILENT_HALF_CLOSED_S", 0.2)
    node = await cluster.registry("node", first_byte_timeout_ms=25_000)
    silent = await cluster.peer(Exchange.abandoned, "silent")
    reader, writer = await connect(node)
    writer.write(f"GET {BLOB_PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await eventually(lambda: silent.requests)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def test_a_client_that_resets_its_half_closed_connection_is_gone(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel still counts what it could not deliver."""
    monkeypatch.setattr("heliograph_registry.adapters.http_server.protocol._SILENT_HALF_CLOSED_S", 0.2)
    abandoned = asyncio.Event()

    async def goes_quiet(exchange: Exchange) -> None:
        await exchange.begin(BLOB_DIGEST, len(BLOB))
        await exchange.send(BLOB[:200_000])
        await exchange.abandoned()
        abandoned.set()

    await cluster.peer(goes_quiet, "peer")
    node = await cluster.registry("node", peer_stall_timeout_s=120)
    host, port = node.address.split(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (host, int(port)))
        await loop.sock_sendall(client, f"GET {BLOB_PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 200 " in await loop.sock_recv(client, 20)
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await abandoned.wait()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    async with asyncio.timeout(20):
        await abandoned.wait()


async def test_a_client_that_closes_its_sending_half_may_read_slowly(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await cluster.registry("node")
    reader, writer = await connect(node)
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    writer.write(f"GET /v2/app/blobs/{node.put(BIG)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    with monkeypatch.context() as patched:
        patched.setattr("heliograph_registry.adapters.http_server.protocol._SILENT_HALF_CLOSED_S", 0.5)
        await asyncio.sleep(0.5)  # until the buffers are full
        writer.write_eof()
        await asyncio.sleep(1.2)  # for two checks
    await asyncio.sleep(0.6)
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert await reader.readexactly(len(BIG)) == BIG
    assert await reader.read() == b""
    writer.close()
