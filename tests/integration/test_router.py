"""The router over a real nats-server and real gRPC, with simulated nodes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from heliograph_shared import subjects
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.rpc import resolver_pb2 as pb
from tests.integration.router_support import (
    LEASE_S,
    BusNode,
    RouterClient,
    RouterProcess,
    capital,
    connect,
    living_node,
    router_process,
    serving_router,
)
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

TAG = "reg.test/team/app:v1"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "heliograph.resolver.v1.Resolver"


def blobs(count: int, kind: str = "blob") -> list[Digest]:
    return [digest_of(f"{kind} {number}".encode()) for number in range(count)]


A, B, C = blobs(3)


@pytest.fixture
async def router(nats_server: NatsServer) -> AsyncIterator[RouterClient]:
    async with serving_router(nats_server.url) as router:
        yield router


@pytest.fixture
async def process(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[RouterProcess]:
    async with router_process(tmp_path, nats_server.url) as router:
        await router.start()
        yield router


@pytest.fixture
async def node(nats_server: NatsServer) -> AsyncIterator[BusNode]:
    async with living_node(nats_server.url, "worker-1.example", zone="z1") as node:
        yield node


async def test_what_a_node_publishes_is_resolved(router: RouterClient, node: BusNode) -> None:
    await router.ready()
    await node.change(add=[A, B], tag={TAG: A})
    await router.knows(A, node.name)
    blob, tag, missing, invalid, capitals = await router.ask(B, TAG, C, "no tag", capital(TAG))
    assert (blob.status, blob.digest, blob.size_bytes) == (pb.FOUND, B, 100)
    (peer,) = blob.peers
    assert (peer.node, peer.incarnation, peer.zone) == (node.name, node.incarnation, "z1")
    assert list(peer.addresses) == node.addresses
    assert (tag.status, tag.digest, len(tag.peers)) == (pb.FOUND, A, 1)
    assert capitals == tag
    assert missing.status == pb.NOT_FOUND
    assert invalid.status == pb.INVALID_KEY
    own = await router.ask(A, TAG, node=node.name)
    assert [answer.status for answer in own] == [pb.NOT_FOUND, pb.FOUND]
    assert not own[1].peers

    await node.change(remove=[B])
    await router.knows(B)


async def test_a_node_is_lost_when_its_lease_expires(router: RouterClient, node: BusNode) -> None:
    await node.change(add=[A])
    await router.knows(A, node.name)
    node.mute = True
    await router.knows(A, within=LEASE_S + 10)
    metrics = await router.metrics()
    assert metrics['heliograph_router_nodes{state="in_sync"}'] == 0
    assert metrics['heliograph_router_nodes_removed_total{reason="lost"}'] == 1
    node.mute = False
    await router.knows(A, node.name)


async def test_a_node_that_leaves_is_gone_at_once(router: RouterClient, node: BusNode) -> None:
    await node.change(add=[A])
    await router.knows(A, node.name)
    await node.leave()
    await router.knows(A, within=10)
    metrics = await router.metrics()
    assert metrics['heliograph_router_nodes_removed_total{reason="left"}'] == 1
    assert metrics['heliograph_router_nodes_removed_total{reason="lost"}'] == 0
    late = BusNode(node.client, node.name, incarnation=node.incarnation, sequence=node.sequence)
    await late.change(add=[B])
    await node.client.flush()
    assert await router.holders(B) == set()
    node.mute = False  # it had not left: somebody forged the message
    await router.knows(A, node.name)
    assert await router.holders(B) == set()


async def test_a_restarted_node_is_known_by_what_it_holds_now(router: RouterClient, node: BusNode) -> None:
    await node.change(add=[A, B])
    await router.knows(A, node.name)
    late = BusNode(node.client, node.name, incarnation=node.incarnation, sequence=node.sequence)
    await node.restart([B, C])
    await router.knows(C, node.name)
    assert await router.holders(A) == set()
    assert await router.holders(B) == {node.name}
    await late.change(add=[A])

    async def asked_with_the_latest_incarnation() -> bool:
        await late.heartbeat()
        return node.incarnation in node.asked

    await eventually(asked_with_the_latest_incarnation)
    assert await router.holders(A) == set()


async def test_a_lost_delta_is_repaired_by_a_snapshot_in_several_chunks(
    router: RouterClient, node: BusNode
) -> None:
    many = blobs(95)
    node.per_chunk = 10
    await node.change(add=many[:50])
    await router.knows(many[0], node.name)
    await node.change(add=many[50:94], lost=True)
    await node.change(add=many[94:], remove=many[:1])
    await router.knows(many[90], node.name)
    await router.knows(many[0])
    answers = await router.ask(*many[1:])
    assert all(answer.status == pb.FOUND for answer in answers)
    metrics = await router.metrics()
    assert metrics['heliograph_router_messages_total{kind="snapshot"}'] >= 10
    assert metrics['heliograph_router_nodes{state="in_sync"}'] == 1


async def test_a_diverged_copy_is_corrected_after_the_next_heartbeat(
    router: RouterClient, node: BusNode
) -> None:
    await node.change(add=[A])
    await router.knows(A, node.name)
    node.content = {B: 100}
    await router.knows(B, node.name)
    await router.knows(A)


async def test_a_router_that_starts_asks_the_nodes(nats_server: NatsServer, node: BusNode) -> None:
    await node.change(add=[A], tag={TAG: A})
    async with serving_router(nats_server.url) as router:
        await router.knows(A, node.name)
        (missing,) = await router.ask(C)
        assert missing.status == pb.NOT_SYNCED
        assert await router.health() == NOT_SERVING
        assert (await router.readyz())[0] == 503
        await router.ready()
        missing, tag = await router.ask(C, TAG)
        assert (missing.status, tag.status) == (pb.NOT_FOUND, pb.FOUND)

        async def serving() -> bool:
            return (await router.health(), await router.health(SERVICE)) == (SERVING, SERVING)

        await eventually(serving)


async def test_a_router_that_was_killed_is_rebuilt_from_the_nodes(
    process: RouterProcess, node: BusNode
) -> None:
    await node.change(add=[A, B], tag={TAG: B})
    await process.knows(A, node.name)
    await process.process.kill()
    await node.change(add=[C], remove=[A])
    await process.start()
    await process.knows(C, node.name)
    assert [answer.digest for answer in await process.ask(B, TAG)] == [B, B]
    assert await process.holders(A) == set()


async def test_a_restart_of_the_bus_loses_nothing(
    process: RouterProcess, node: BusNode, nats_server: NatsServer
) -> None:
    await node.change(add=[A])
    await process.knows(A, node.name)
    await process.ready()
    await nats_server.kill()
    await eventually(lambda: not node.client.is_connected)
    await node.change(add=[B], remove=[A])
    await asyncio.sleep(LEASE_S + 0.5)  # longer than a lease without a message
    assert await process.holders(A) == {node.name}
    assert (await process.readyz())[0] == 200
    metrics = await process.metrics()
    assert metrics["heliograph_router_bus_connected"] == 0
    assert metrics['heliograph_router_leases{state="frozen"}'] == 1
    await nats_server.start()
    await process.knows(B, node.name, within=20)
    await process.knows(A)
    metrics = await process.metrics()
    assert metrics["heliograph_router_bus_connected"] == 1
    assert metrics["heliograph_router_bus_reconnects_total"] == 1
    assert "nodes lost" not in process.log


async def test_a_stalled_bus_expires_no_lease(
    process: RouterProcess, node: BusNode, nats_server: NatsServer
) -> None:
    await node.change(add=[A])
    await process.knows(A, node.name)
    nats_server.pause()
    await asyncio.sleep(LEASE_S + 1)  # a lease without a message, although the connection is up
    assert await process.holders(A) == {node.name}
    nats_server.resume()
    await node.change(add=[B])
    await process.knows(B, node.name, within=20)
    assert "nodes lost" not in process.log


async def test_a_node_lost_while_the_bus_was_down_is_removed_one_lease_after(
    router: RouterClient, node: BusNode, nats_server: NatsServer
) -> None:
    await node.change(add=[A])
    await router.knows(A, node.name)
    node.mute = True
    await nats_server.restart()
    await router.knows(A, within=2 * LEASE_S + 10)


async def test_a_router_without_a_bus_answers_not_synced() -> None:
    async with serving_router("nats://127.0.0.1:1") as router:
        (answer,) = await router.ask(A)
        assert answer.status == pb.NOT_SYNCED
        assert await router.health() == NOT_SERVING
        code, reason = await router.readyz()
        assert (code, "bus" in reason) == (503, True)


async def test_garbage_on_every_subject_is_ignored(
    process: RouterProcess, node: BusNode, nats_server: NatsServer
) -> None:
    await node.change(add=[A])
    await process.knows(A, node.name)
    garbage = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"node": 7}', b"9" * 5000, b"[" * 100_000]
    liar = f'{{"node":"other","incarnation":{node.incarnation},"sequence":9,'
    liar += f'"inventory":{node.inventory.model_dump_json()}}}'
    async with connect(nats_server.url) as client:
        for subject in (
            subjects.content(node.name),
            subjects.node(node.name),
            subjects.content("%zz"),
            subjects.snapshot(node.name),
            subjects.HELLO,
        ):
            for payload in [*garbage, liar.encode()]:
                await client.publish(subject, payload)
                await client.publish(subject, payload, headers={"ce-type": "heliograph.v1.NodeLeft"})
        await client.publish(subjects.node("far"), future_heartbeat(node).encode())
        await client.flush()
    await node.change(add=[B])
    await process.knows(B, node.name)
    assert await process.holders(A) == {node.name}
    metrics = await process.metrics()
    assert metrics['heliograph_router_messages_dropped_total{reason="malformed"}'] > 30
    assert metrics['heliograph_router_messages_dropped_total{reason="wrong_node"}'] >= 4
    assert metrics['heliograph_router_messages_dropped_total{reason="ahead_of_clock"}'] == 1
    assert process.log.count("messages are dropped") <= 8, "each kind is logged once"


async def test_subjects_and_headers_that_are_not_text_do_not_stop_it(
    router: RouterClient, node: BusNode, nats_server: NatsServer
) -> None:
    reader, writer = await asyncio.open_connection(nats_server.host, nats_server.port)
    await reader.readline()
    subject = subjects.content(node.name).encode()
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\nPUB heliograph.v1.content.\xff 2\r\n{}\r\n')
    for headers in (b"x", b"NATS/1.0 \xff\xff\xff\r\n\r\n", b"NATS/1.0\r\nce-type: \xff\r\n\r\n"):
        writer.write(b"HPUB %s %d %d\r\n%s{}\r\n" % (subject, len(headers), len(headers) + 2, headers))
    writer.write(b"PING\r\n")
    assert await reader.readline() == b"PONG\r\n"
    writer.close()
    await node.change(add=[A])
    await router.knows(A, node.name)
    metrics = await router.metrics()
    assert metrics['heliograph_router_messages_dropped_total{reason="malformed"}'] == 4


def future_heartbeat(node: BusNode) -> str:
    ahead = node.incarnation + 3600 * 10**9
    return (
        f'{{"node":"far","incarnation":{ahead},"sequence":0,"inventory":{node.inventory.model_dump_json()},'
        '"unknown":1}'
    )


async def test_a_node_that_answers_a_request_with_garbage_is_asked_again(
    router: RouterClient, nats_server: NatsServer
) -> None:
    await router.ready()  # it may not be subscribed before
    async with connect(nats_server.url) as client:
        node = BusNode(client, "odd", sequence=5, content={A: 100})
        replies = iter([b"", b"junk", b"{}"])

        async def answer(message) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
            if (payload := next(replies, None)) is not None:
                await client.publish(message.reply, payload)
            else:
                await node._answer(message)

        await client.subscribe(subjects.snapshot(node.name), cb=answer)
        await node.heartbeat()
        await router.knows(A, node.name)
        metrics = await router.metrics()
        assert metrics['heliograph_router_snapshots_total{outcome="failed"}'] == 3
        assert metrics['heliograph_router_snapshots_total{outcome="received"}'] == 1


async def test_many_nodes_are_spread_and_listed(router: RouterClient, nats_server: NatsServer) -> None:
    await router.ready()
    async with connect(nats_server.url) as client:
        nodes = [
            BusNode(client, f"n{n}", zone=f"z{n % 2}", addresses=[f"10.0.0.{n}:5000", "nonsense"])
            for n in range(10)
        ]
        for node in nodes:
            await node.change(add=[A], tag={TAG: A})
            await node.heartbeat()
        await router.knows(A, *(node.name for node in nodes))
        (found,) = await router.ask(
            A, node="n0", zone="z0", max_peers=9, failed_peers=[pb.FailedPeer(node="n2")]
        )
        names = [peer.node for peer in found.peers]
        assert set(names[:3]) == {"n4", "n6", "n8"}
        assert set(names[3:8]) == {"n1", "n3", "n5", "n7", "n9"}
        assert names[8:] == ["n2"]
        assert list(found.peers[-1].addresses) == ["10.0.0.2:5000"]
        assert len((await router.ask(A))[0].peers) == 3

        listed = (await router.api.ListNodes(pb.ListNodesRequest(), timeout=5)).nodes
        assert {(node.node, node.digests, node.tags, node.in_sync) for node in listed} == {
            (node.name, 1, 1, True) for node in nodes
        }
        assert all(0 < node.lease_left_s <= 2 * LEASE_S for node in listed)
        stats = await router.api.Stats(pb.StatsRequest(), timeout=5)
        assert (stats.nodes, stats.nodes_in_sync, stats.digests, stats.pairs, stats.tags, stats.ready) == (
            10,
            10,
            1,
            10,
            1,
            True,
        )
        metrics = await router.metrics()
        assert metrics["heliograph_router_index_entries"] == 10
        assert metrics["heliograph_router_tags"] == 1
        assert metrics["heliograph_router_ready"] == 1
        assert metrics['heliograph_router_resolves_total{status="found"}'] > 0
        assert 1 <= metrics["heliograph_router_event_lag_seconds_count"] <= 10
        assert 0 < metrics["heliograph_router_event_lag_seconds_sum"] < 10 * 60
        assert metrics["heliograph_router_bus_round_trip_seconds_count"] > 0


async def test_too_many_keys_are_refused(router: RouterClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await router.ask(*blobs(1001))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(await router.ask(*blobs(1000), wait_ms=1000)) == 1000
    (nothing,) = (await router.api.Resolve(pb.ResolveRequest(keys=[pb.Key()]), timeout=5)).resolutions
    assert nothing.status == pb.INVALID_KEY
    assert not (await router.api.Resolve(pb.ResolveRequest(), timeout=5)).resolutions


@pytest.mark.parametrize("variable", ["HELIOGRAPH_ROUTER_LISTEN", "HELIOGRAPH_ADMIN_LISTEN"])
async def test_an_occupied_port_is_reported_and_ends_it(
    tmp_path: Path, nats_server: NatsServer, variable: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with router_process(tmp_path, nats_server.url, **{variable: address}) as router:
            router.process.start()
            assert await router.process.ended(20) == 1
    assert f"{address} is in use" in router.log
    assert "Traceback" not in router.log


async def test_it_stops_cleanly(process: RouterProcess, node: BusNode) -> None:
    await node.change(add=[A])
    await process.knows(A, node.name)
    await process.process.stop()
    assert process.process.returncode == 0
    assert "Traceback" not in process.log
