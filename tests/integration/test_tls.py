"""TLS everywhere: registries, peers and routers, with real certificates that change while they are used."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from heliograph_registry import app
from heliograph_registry.adapters.peer_client.connections import Connections, PeerTls
from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.errors import PeerFailed
from heliograph_registry.settings import Settings
from heliograph_shared.digest import digest_of, hex_of
from heliograph_shared.rpc.credentials import server_credentials
from heliograph_shared.runtime import StartupError
from heliograph_shared.tls import TlsFiles, client_contexts
from tests.integration.registry_support import BLOB, BLOB_PATH, MANIFEST, MANIFEST_PATH, Cluster, Registry
from tests.support.certificates import Authority, Identity
from tests.support.ports import free_port
from tests.support.resolver import serve_resolver
from tests.support.waiting import eventually

BIG = os.urandom(1 << 20) * 24
BIG_PATH = f"/v2/app/blobs/{digest_of(BIG)}?ns=reg.test"
PATIENT = {"first_byte_timeout_ms": 5000}
SMALL = b"a small blob"


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def cluster(tmp_path: Path, authority: Authority) -> AsyncIterator[Cluster]:
    """Around a router that talks to those only who show a certificate of `authority`."""
    identity = authority.issue(tmp_path / "router-tls")
    async with AsyncExitStack() as stack:
        made = Cluster(tmp_path, stack)
        files = TlsFiles(identity.certificate, identity.key, identity.ca)
        credentials = server_credentials(files, verify_clients=True)
        await stack.enter_async_context(serve_resolver(made.known, made.router_port, credentials))
        yield made
        made.stop()


async def registry(cluster: Cluster, name: str, identity: Identity, **more: object) -> Registry:
    return await cluster.registry(
        name, **{"tls_verify_clients": True, **PATIENT, **identity.settings, **more}
    )


async def pair(cluster: Cluster, authority: Authority, folder: Path) -> tuple[Registry, Registry]:
    """One that holds `BIG`, and one that does not."""
    holder = await registry(cluster, "holder", authority.issue(folder / "holder-tls"))
    cluster.holds(holder, BIG)
    return holder, await registry(cluster, "node", authority.issue(folder / "node-tls"))


def shown(address: str, identity: Identity, *, present: bool = True) -> bytes:
    """The certificate that a server presents, DER. Raises `OSError` when it refuses us."""
    context = ssl.create_default_context(cafile=identity.ca)
    if present:
        context.load_cert_chain(identity.certificate, identity.key)
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        secured.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        if not secured.recv(100).startswith(b"HTTP/1.1 200"):  # where TLS 1.3 tells of a refusal
            raise ConnectionRefusedError
        return secured.getpeercert(binary_form=True) or b""


async def test_everything_is_served_and_relayed_as_it_is_without(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    holder, node = await pair(cluster, authority, tmp_path)
    holder.put(MANIFEST)
    for _ in range(2):
        assert (await holder.http.get(MANIFEST_PATH)).content == MANIFEST
    for place, source in [(holder, "local"), (node, "peer/holder")]:
        whole = await place.http.get(BIG_PATH)
        assert (whole.content, whole.headers["heliograph-source"]) == (BIG, source)
        part = await place.http.get(BIG_PATH, headers={"range": "bytes=5-2000000"})
        assert (part.status_code, part.content) == (206, BIG[5:2000001])
        assert (await place.http.head(BIG_PATH)).headers["content-length"] == str(len(BIG))
    absent = await node.http.get(BLOB_PATH)
    assert (absent.status_code, absent.headers["heliograph-reason"]) == (404, "not-found")


async def test_many_at_once_over_connections_that_are_used_again(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    _, node = await pair(cluster, authority, tmp_path)
    for _ in range(3):
        ranges = [f"bytes={n * 1000}-{n * 1000 + 2_000_000}" for n in range(8)]
        answers = await asyncio.gather(*(node.http.get(BIG_PATH, headers={"range": text}) for text in ranges))
        for n, answer in enumerate(answers):
            assert answer.content == BIG[n * 1000 : n * 1000 + 2_000_001]


async def test_a_slow_handshake_is_waited_for_where_the_first_byte_may_take_long(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    """It takes longer than the 0.5 s of the default settings, and less than their share of 5 s."""
    holder, node = await pair(cluster, authority, tmp_path)
    host, port = holder.address.split(":")

    async def delayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.8)
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        async with asyncio.TaskGroup() as group:
            group.create_task(pipe(reader, there_writer))
            group.create_task(pipe(there_reader, writer))

    async with await asyncio.start_server(delayed, "127.0.0.1", 0) as slow:
        cluster.known.holds(
            "slow", f"127.0.0.1:{slow.sockets[0].getsockname()[1]}", digest_of(SMALL), len(SMALL)
        )
        holder.put(SMALL)
        answer = await node.http.get(f"/v2/app/blobs/{digest_of(SMALL)}?ns=reg.test")
    assert (answer.content, answer.headers["heliograph-source"]) == (SMALL, "peer/slow")


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(64 << 10):
        writer.write(piece)
    writer.close()


async def test_callers_must_show_a_certificate_where_that_is_asked(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    ours, foreign = authority.issue(tmp_path / "ours"), Authority().issue(tmp_path / "foreign")
    foreign.ca.write_bytes(authority.pem)  # it believes the server, which does not believe it
    mutual = await registry(cluster, "mutual", authority.issue(tmp_path / "a"))
    one_way = await registry(cluster, "one-way", authority.issue(tmp_path / "b"), tls_verify_clients=False)
    for node in (mutual, one_way):
        await asyncio.to_thread(shown, node.address, ours)
    for present, caller in [(False, ours), (True, foreign)]:
        with pytest.raises(OSError):  # noqa: PT011 - closed, reset or an alert
            await asyncio.to_thread(shown, mutual.address, caller, present=present)
    await asyncio.to_thread(shown, one_way.address, ours, present=False)


async def test_a_plain_request_gets_no_answer_and_harms_nobody(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    node = await registry(cluster, "node", authority.issue(tmp_path / "tls"))
    async with httpx.AsyncClient(trust_env=False) as plain:
        with pytest.raises(httpx.TransportError):
            await plain.get(f"http://{node.address}/v2/")
    assert (await node.http.get("/v2/")).status_code == 200


async def test_peers_that_are_not_believed_leave_pulls_to_upstream(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    """Also while one part of a cluster speaks TLS and the other does not yet."""
    foreign = Authority().issue(tmp_path / "foreign")
    plain = await cluster.registry("plain")
    other = await registry(cluster, "other", foreign)
    misnamed = await registry(cluster, "misnamed", authority.issue(tmp_path / "named", "elsewhere.test"))
    node = await registry(cluster, "node", authority.issue(tmp_path / "tls"))
    for holder in (plain, other, misnamed):
        cluster.holds(holder, BLOB)
    began = time.monotonic()
    answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "peers-failed")
    assert time.monotonic() - began < 5
    good = await registry(cluster, "good", authority.issue(tmp_path / "good"))
    cluster.holds(good, BLOB)
    assert (await node.http.get(BLOB_PATH)).content == BLOB


async def test_clients_that_take_nothing_hold_little_memory(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    identity = authority.issue(tmp_path / "tls")
    node = await registry(cluster, "node", identity, tls_verify_clients=False)
    node.put(BIG)
    trusting = ssl.create_default_context(cafile=identity.ca)
    host, _, port = node.address.partition(":")
    before, clients = resident_bytes(), []
    for _ in range(40):
        reader, writer = await asyncio.open_connection(host, int(port), ssl=trusting, limit=1 << 14)
        writer.write(f"GET {BIG_PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        clients.append(writer)
    assert (await node.http.get(BIG_PATH)).content == BIG
    assert resident_bytes() - before < 120 << 20  # this test's own ends and copies of BIG are in it
    for writer in clients:
        writer.transport.abort()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_router_that_speaks_no_tls_is_as_one_that_is_down(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    port = free_port()
    async with serve_resolver(cluster.known, port):
        node = await registry(
            cluster, "node", authority.issue(tmp_path / "tls"), router_target=f"ipv4:127.0.0.1:{port}"
        )
        node.put(BLOB)
        assert (await node.http.get(BLOB_PATH)).content == BLOB
        began = time.monotonic()
        answer = await node.http.get(BIG_PATH)
        assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "resolver-unavailable")
        assert time.monotonic() - began < PATIENT["first_byte_timeout_ms"] / 1000 + 2


async def test_a_name_can_stand_for_all_addresses(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    name = "registry.heliograph.test"
    authority.issue(tmp_path / "router-tls", name)
    holder = await registry(cluster, "holder", authority.issue(tmp_path / "a", name))
    cluster.holds(holder, BLOB)
    identity = authority.issue(tmp_path / "b", name, "127.0.0.1")
    node = await registry(cluster, "node", identity, tls_server_name=name)

    async def relayed() -> bool:  # the router looks at its files once a second
        return (await node.http.get(BLOB_PATH)).content == BLOB

    await eventually(relayed)


async def test_a_new_certificate_is_used_for_new_connections_and_a_broken_one_is_not(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    identity = authority.issue(tmp_path / "tls")
    node = await registry(cluster, "node", identity)
    ours = authority.issue(tmp_path / "ours")
    first = await asyncio.to_thread(shown, node.address, ours)
    assert (await node.http.get("/v2/")).status_code == 200  # a connection from before

    identity.key.write_text("not a key")

    async def noticed() -> bool:
        assert await asyncio.to_thread(shown, node.address, ours) == first
        metrics = (await node.http.get(f"{node.admin}/metrics")).text
        return 'heliograph_file_reloads_total{file="tls-server",outcome="failed"}' in metrics

    await eventually(noticed, 20)
    authority.issue(tmp_path / "tls")

    async def replaced() -> bool:
        return await asyncio.to_thread(shown, node.address, ours) != first

    await eventually(replaced, 20)
    assert (await node.http.get("/v2/")).status_code == 200


async def test_a_new_authority_replaces_the_old_one_for_callers_peers_and_routers(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    holder, node = await pair(cluster, authority, tmp_path)
    outdated = authority.issue(tmp_path / "outdated")
    assert (await node.http.get(BIG_PATH)).content == BIG

    successor = Authority()
    for name in ("router-tls", "holder-tls", "node-tls", "ours"):
        successor.issue(tmp_path / name)
    ours = successor.issue(tmp_path / "ours")
    context = ssl.create_default_context(cafile=ours.ca)
    context.load_cert_chain(ours.certificate, ours.key)
    async with httpx.AsyncClient(base_url=node.http.base_url, verify=context, trust_env=False) as http:

        async def relayed_by_the_new() -> bool:
            try:
                return (await http.get(BIG_PATH, timeout=20)).content == BIG
            except httpx.TransportError:
                return False

        await eventually(relayed_by_the_new, 30)
    outdated.ca.write_bytes(successor.pem)

    async def old_ones_are_refused() -> bool:
        for place in (node, holder):
            try:
                await asyncio.to_thread(shown, place.address, outdated)
            except OSError:
                continue
            return False
        return True

    await eventually(old_ones_are_refused, 20)


async def test_a_file_cut_short_ends_the_stream_with_a_goodbye(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    node = await registry(cluster, "node", authority.issue(tmp_path / "tls"))
    digest = node.put(BIG)
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection without sending complete"):  # noqa: PT012
        async with node.http.stream("GET", f"/v2/app/blobs/{digest}") as answer:
            os.truncate(node.directory / "blobs" / "sha256" / hex_of(digest), len(BIG) // 2)
            async for piece in answer.aiter_raw():
                received += piece
    assert received == BIG[: len(received)]
    assert 0 < len(received) <= len(BIG) // 2


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"tls_key_file": None}, "tls_key_file"),
        ({"tls_ca_file": None}, "tls_ca_file"),
    ],
)
async def test_settings_that_do_not_fit_are_refused(
    cluster: Cluster, authority: Authority, tmp_path: Path, changed: dict[str, None], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        await registry(cluster, "node", authority.issue(tmp_path / "tls"), **changed)


async def test_it_does_not_start_with_a_key_of_another_certificate(
    authority: Authority, tmp_path: Path
) -> None:
    identity, other = authority.issue(tmp_path / "a"), authority.issue(tmp_path / "b")
    settings = Settings.model_validate(
        {
            "node_name": "node",
            "registry_listen": f"127.0.0.1:{free_port()}",
            "admin_listen": f"127.0.0.1:{free_port()}",
            **identity.settings,
            "tls_key_file": other.key,
        }
    )
    with pytest.raises(StartupError, match=r"tls-server cannot be used: .*KEY_VALUES_MISMATCH"):
        await app.serve(settings, asyncio.Event())


async def test_an_address_that_tls_cannot_name_is_a_peer_that_failed(
    tmp_path: Path, authority: Authority
) -> None:
    identity = authority.issue(tmp_path)
    tls = PeerTls(client_contexts(TlsFiles(ca=identity.ca)))
    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PeerFailed, match="odd"):
            await Connections(tls).take(Peer("odd", (f":{port}",)))
