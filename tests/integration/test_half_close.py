"""Clients that close their sending half after their requests, on the event loop that the service runs on."""

import asyncio
import os

import pytest

from heliograph_shared.digest import digest_of
from tests.integration.registry_support import BLOB_PATH, MANIFEST, MANIFEST_PATH, Cluster
from tests.integration.test_transfers import connect
from tests.support.bad_peer import Exchange
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

BIG = os.urandom(1 << 20) * 24


@pytest.mark.parametrize("source", ["store", "peer"])
async def test_a_client_that_closes_its_sending_half_gets_its_answers(cluster: Cluster, source: str) -> None:
    node, other = await cluster.registry("node"), await cluster.registry("other")
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


async def test_a_client_that_closes_its_sending_half_may_read_slowly(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph_registry.adapters.http_server.protocol._SILENT_HALF_CLOSED_S", 0.05)
    node = await cluster.registry("node")
    reader, writer = await connect(node)
    writer.write(f"GET /v2/app/blobs/{node.put(BIG)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    writer.write_eof()
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.5)
    assert await reader.readexactly(len(BIG)) == BIG
    assert await reader.read() == b""
    writer.close()
