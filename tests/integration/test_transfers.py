"""Transfers under load: slots, slow and disconnected clients, files that become shorter, and TLS."""

import asyncio
import errno
import json
import os
import resource
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import uvicorn

from heliograph_registry.adapters.filesystem import FileContent, open_readers
from heliograph_registry.adapters.http_server.app import data_app
from heliograph_registry.adapters.http_server.manifest_cache import ManifestCache
from heliograph_registry.adapters.http_server.protocol import MirrorProtocol
from heliograph_registry.adapters.http_server.pump import open_pumps
from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.mirror.domain.request_log import RequestLog
from heliograph_registry.mirror.local_content import LocalContent
from heliograph_registry.mirror_wiring import open_mirror
from heliograph_registry.settings import Settings
from heliograph_shared.digest import digest_of, hex_of
from heliograph_shared.filters import ImageFilter
from heliograph_shared.limited_http import Limits
from tests.integration.registry_support import BLOB, BLOB_PATH, MANIFEST, MANIFEST_PATH, Cluster, Registry
from tests.support.ports import free_port
from tests.support.waiting import eventually

BIG = os.urandom(1 << 20) * 48
PEER = {"heliograph-peer": "another"}


async def connect(registry: Registry) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = registry.address.split(":")
    return await asyncio.open_connection(host, int(port), limit=1 << 16)


async def stalled_client(registry: Registry, path: str, peer: bool = False) -> asyncio.StreamWriter:  # noqa: FBT001, FBT002
    """A client that reads the head of an answer and nothing more."""
    reader, writer = await connect(registry)
    line = "Heliograph-Peer: another\r\n" if peer else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{line}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    return writer


async def test_many_answers_over_one_connection(cluster: Cluster) -> None:
    node = await cluster.registry("node")
    paths = {f"/v2/app/blobs/{node.put(data)}": data for data in (BIG, BLOB, b"x", BIG[:-1])}
    for _ in range(3):
        for path, data in paths.items():
            assert (await node.http.head(path)).headers["content-length"] == str(len(data))
            assert (await node.http.get(path)).content == data
            assert (await node.http.get(path, headers={"range": "bytes=-1"})).content == data[-1:]


async def test_peers_and_clients_have_separate_limits_of_transfers(cluster: Cluster) -> None:
    node = await cluster.registry("node", max_transfers=2)
    path = f"/v2/app/blobs/{node.put(BIG)}"
    for headers, peer in (({}, False), (PEER, True)):
        clients = [await stalled_client(node, path, peer) for _ in range(2)]
        refused = await node.http.get(path, headers=headers)
        assert (refused.status_code, refused.headers["heliograph-reason"]) == (503, "busy")
        assert "retry-after" not in refused.headers
        assert (await node.http.head(path, headers=headers)).status_code == 200
        for client in clients:
            client.transport.abort()

        async def free_again() -> bool:
            return (await node.http.get(path, headers=headers)).content == BIG  # noqa: B023 - within the round

        await eventually(free_again)


async def test_a_range_of_a_started_blob_is_not_refused_while_all_slots_are_taken(cluster: Cluster) -> None:
    """Else containerd 2.1 fails the pull. After an early end it asks once more, then its next host."""
    node = await cluster.registry("node", max_transfers=1)
    path = f"/v2/app/blobs/{node.put(BIG)}"
    assert (await node.http.get(path, headers={"range": "bytes=0-9"})).status_code == 206
    client = await stalled_client(node, path)
    with pytest.raises(httpx.RemoteProtocolError, match="received 0 bytes, expected 10"):
        await node.http.get(path, headers={"range": "bytes=10-19"})
    for wanted in ("bytes=10-19", None):
        headers = {"range": wanted} if wanted else {}
        assert (await node.http.get(path, headers=headers)).headers["heliograph-reason"] == "busy"
    client.transport.abort()


async def test_an_answer_ends_early_if_no_descriptor_is_left(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with a FIN, after which containerd resumes. An unhandled error would end it with an RST."""
    node = await cluster.registry("node")
    path = f"/v2/app/blobs/{node.put(BIG)}"
    reader, writer = await connect(node)
    with monkeypatch.context() as patched:
        patched.setattr("heliograph_registry.adapters.http_server.transfer.os.dup", no_descriptor)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
    writer.close()
    assert (await node.http.get(path)).content == BIG


def no_descriptor(_: int) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_another_peer_replaces_a_busy_one(cluster: Cluster) -> None:
    free, node = await cluster.registry("free"), await cluster.registry("node")
    busy = await cluster.registry("busy", max_transfers=1)
    for holder in (busy, free):
        cluster.holds(holder, BIG)
    path = f"/v2/app/blobs/{digest_of(BIG)}"
    client = await stalled_client(busy, path, peer=True)
    answer = await node.http.get(path)
    assert (answer.content, answer.headers["heliograph-source"]) == (BIG, "peer/free")
    client.transport.abort()


async def test_clients_that_read_nothing_delay_no_other_client(cluster: Cluster) -> None:
    node = await cluster.registry("node")
    path = f"/v2/app/blobs/{node.put(BIG)}"
    node.put(MANIFEST)
    idle = [await connect(node) for _ in range(200)]
    stalled = [await stalled_client(node, path) for _ in range(40)]
    began = time.monotonic()
    for _ in range(20):
        assert (await node.http.get(MANIFEST_PATH)).content == MANIFEST
    assert (await node.http.get(path)).content == BIG
    assert time.monotonic() - began < 15
    for _, writer in idle:
        writer.transport.abort()
    for writer in stalled:
        writer.transport.abort()


async def test_answers_that_are_not_read_do_not_fill_the_memory(cluster: Cluster) -> None:
    node = await cluster.registry("node")
    manifest = json.dumps({"schemaVersion": 2, "config": {}, "layers": [], "x": "y" * (1 << 20)}).encode()
    path = f"/v2/app/manifests/{node.put(manifest)}"
    assert [(await node.http.get(path)).content for _ in range(2)] == [manifest] * 2
    _, writer = await connect(node)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    before = resident_bytes()
    for _ in range(400):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert [(await node.http.get(path)).content for _ in range(20)] == [manifest] * 20
    assert resident_bytes() - before < 100 << 20
    writer.transport.abort()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_a_range_beyond_four_gib_is_served(cluster: Cluster) -> None:
    node = await cluster.registry("node")
    digest = digest_of(b"a name for a large file")
    with (node.directory / "blobs" / "sha256" / hex_of(digest)).open("wb") as file:
        file.seek(5 << 30)
        file.write(b"the end")
    path = f"/v2/app/blobs/{digest}"
    answer = await node.http.get(path, headers={"range": f"bytes={(5 << 30) - 3}-"})
    assert (answer.status_code, answer.content) == (206, b"\0\0\0the end")
    whole = await node.http.head(path)
    assert whole.headers["content-length"] == str((5 << 30) + 7)


async def received_of_truncated(http: httpx.AsyncClient, path: str, file: Path) -> bytes:
    """The bytes that arrive of a blob whose file is cut in half after the answer has started."""
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012 - it is raised while the body is read
        async with http.stream("GET", path) as answer:
            assert answer.status_code == 200
            os.truncate(file, len(BIG) // 2)
            async for piece in answer.aiter_raw():
                received += piece
    return bytes(received)


async def test_a_file_that_is_truncated_while_it_is_served_ends_with_a_fin(cluster: Cluster) -> None:
    node = await cluster.registry("node")
    digest = node.put(BIG)
    received = await received_of_truncated(
        node.http, f"/v2/app/blobs/{digest}", node.directory / "blobs" / "sha256" / hex_of(digest)
    )
    assert received == BIG[: len(received)]
    assert len(received) == len(BIG) // 2


async def test_a_file_that_failed_while_it_was_served_is_not_served_again(cluster: Cluster) -> None:
    """A client asks for the rest: the same file would end that answer without a byte, again and again."""
    node = await cluster.registry("node")
    cluster.holds(await cluster.registry("seed"), BIG)
    digest = node.put(BIG)
    path = f"/v2/app/blobs/{digest}"
    received = await received_of_truncated(
        node.http, path, node.directory / "blobs" / "sha256" / hex_of(digest)
    )
    rest = await node.http.get(path, headers={"range": f"bytes={len(received)}-"})
    assert (rest.status_code, received + rest.content == BIG) == (206, True)
    assert rest.headers["heliograph-source"] == "peer/seed"
    assert (await node.http.get(f"{node.admin}/unservable")).json() == {"digests": [digest]}
    refused = await node.http.get(path, headers={"heliograph-peer": "another"})
    assert (refused.status_code, refused.headers["heliograph-reason"]) == (404, "not-local")


@asynccontextmanager
async def over_tls(directory: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Path]]:
    """A client of a data port with TLS, wired as in `app`, and the folder with its blobs."""
    blobs, certificate, key = directory / "blobs" / "sha256", directory / "tls.crt", directory / "tls.key"
    blobs.mkdir(parents=True)
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    usage = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *usage]
    subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)  # noqa: ASYNC221
    port, readers = free_port(), open_readers()
    settings = Settings.model_validate(
        {
            "node_name": "tls",
            "content_path": directory,
            "state_path": directory / "node.json",
            "router_target": f"dns:///127.0.0.1:{free_port()}",
        }
    )
    content, metrics = FileContent(directory, readers), RegistryMetrics()
    async with AsyncExitStack() as stack:
        pumps = stack.enter_context(open_pumps(readers.bodies))
        stack.enter_context(readers)
        request_log = RequestLog()
        opened = open_mirror(
            settings, LocalContent(content), ImageFilter((), ()), readers, metrics, request_log
        )
        components = await stack.enter_async_context(opened)
        cache = ManifestCache(components.lookahead, metrics, request_log)
        config = uvicorn.Config(
            data_app(components.mirror, metrics, cache, request_log),
            http=partial(MirrorProtocol, pumps=pumps, from_cache=cache.get, limits=Limits()),  # type: ignore[arg-type]
            port=port,
            lifespan="off",
            log_config=None,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve())
        trusted = ssl.create_default_context(cafile=certificate)
        base = f"https://localhost:{port}"
        async with httpx.AsyncClient(base_url=base, verify=trusted, trust_env=False) as http:
            await eventually(lambda: server.started)
            yield http, blobs
        server.should_exit = True
        await serving


async def test_over_tls_bodies_are_copied_and_arrive_the_same(tmp_path: Path) -> None:
    async with over_tls(tmp_path) as (http, blobs):
        (blobs / hex_of(digest_of(BIG))).write_bytes(BIG)
        path = f"/v2/app/blobs/{digest_of(BIG)}"
        assert (await http.get(path)).content == BIG
        ranged = await http.get(path, headers={"range": "bytes=5-2000000"})
        assert (ranged.status_code, ranged.content) == (206, BIG[5:2000001])
        received = await received_of_truncated(http, path, blobs / hex_of(digest_of(BIG)))
        assert received == BIG[: len(received)]
        assert 0 < len(received) <= len(BIG) // 2
        assert (await http.get(BLOB_PATH)).status_code == 404
