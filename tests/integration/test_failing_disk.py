"""Blobs of this node on a disk that fails: the client gets all bytes, in a few answers, or goes upstream."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heliograph_shared.digest import digest_of, hex_of
from tests.integration.registry_support import Cluster, Registry
from tests.support.failing_disk import failing_disk

BIG = os.urandom(24 << 20)
DIGEST = digest_of(BIG)
PATH = f"/v2/app/blobs/{DIGEST}?ns=reg.test"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk needs root")


@pytest.fixture(params=[4096, 12 << 20], ids=["after a page", "in the middle"])
async def node(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> AsyncIterator[Registry]:
    """A registry whose copy of `BIG` can be read only up to some byte."""
    with failing_disk(tmp_path, f"blobs/sha256/{hex_of(DIGEST)}", BIG, request.param) as disk:
        yield await cluster.registry("node", content_path=disk)


async def received_by(node: Registry, offset: int) -> tuple[int, bytes]:
    """Status and body, which may end early."""
    host, port = node.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    ranged = f"Range: bytes={offset}-\r\n"
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{ranged}\r\n".encode())
    async with asyncio.timeout(30):
        answer = await reader.read(-1)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_a_client_that_resumes_gets_all_bytes(cluster: Cluster, node: Registry) -> None:
    cluster.holds(await cluster.registry("peer"), BIG)
    received = b""
    for _ in range(2):
        status, body = await received_by(node, len(received))
        assert status == 206
        received += body
        if len(received) == len(BIG):
            break
    assert received == BIG


async def test_without_a_peer_a_client_is_soon_sent_upstream(node: Registry) -> None:
    statuses, received = [], b""
    for _ in range(3):
        status, body = await received_by(node, len(received))
        statuses.append(status)
        received += body if status == 206 else b""
    assert statuses[-1] == 404
    assert BIG.startswith(received)
