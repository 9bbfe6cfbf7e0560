"""The indexer on a real bus: what routers and other readers see of a node."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from heliograph_indexer.domain.content import BlobAdded, BlobRemoved, StoreEvent, TagRemoved, TagSet
from heliograph_indexer.domain.namesakes import Namesake
from heliograph_shared.digest import digest_of
from heliograph_shared.events import (
    MAX_MESSAGE_BYTES,
    ContentChanged,
    NodeHeartbeat,
    NodeLeft,
    SnapshotRequest,
    encode,
)
from heliograph_shared.node_state import NodeState, read_node_state, write_node_state
from tests.integration.indexer_support import ADDRESS, HEARTBEAT_S, NODE, Node
from tests.support.nats import NatsServer
from tests.support.waiting import eventually
from tests.unit.indexer.listener import Listener, listening
from tests.unit.indexer.replica import content_of, inventory_of

TAG, FILTERED = "reg.test/team/app:v1", "secret.test/app:v1"
BODY = digest_of(b"body")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
async def listener(nats_server: NatsServer) -> AsyncIterator[Listener]:
    async with listening(nats_server.url, NODE) as listening_one:
        yield listening_one


async def in_step(node: Node, listener: Listener, within: float = 10) -> None:
    """Wait until the reader of the bus holds what the store does, but for what is filtered."""

    def equal() -> bool:
        held = node.store.holdings
        told = {reference: tag for reference, tag in held.tags.items() if "secret" not in reference}
        content = listener.replica.content
        return content.blobs == held.blobs and content.tags == told

    await eventually(equal, within, lambda: f"the reader holds {listener.replica}")


def unready_for(node: Node) -> set[str]:
    """What the indexer waits for."""
    reason = node.indexer.unready_reason() or ""
    return {word for word in ("store", "bus") if word in reason}


def warnings_about(path: Path, lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["log_level"] == "warning" and line.get("path") == str(path)]


async def test_all_that_is_there_at_start_is_announced_and_then_the_node(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    node.store.happen(BlobAdded(BODY, 4))
    node.store.happen(TagSet(TAG, BODY, 1000))
    node.store.on_the_way.append(digest_of(b"on the way"))
    async with node.running(nats_server.url):
        await eventually(lambda: listener.all(NodeHeartbeat))
    kinds = [type(message) for _, _, message in listener.heard]
    assert kinds[:2] == [ContentChanged, NodeHeartbeat]
    heartbeat = listener.all(NodeHeartbeat)[0]
    assert heartbeat.addresses == [ADDRESS]
    assert heartbeat.zone == "zone-a"
    assert heartbeat.downloading == [digest_of(b"on the way")]
    assert heartbeat.inventory == inventory_of(listener.replica.blobs, listener.replica.tags)
    assert (heartbeat.incarnation, heartbeat.sequence) == (listener.replica.incarnation, 1)


async def test_messages_are_cloudevents_of_their_node(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    node.store.happen(BlobAdded(BODY, 4))
    async with node.running(nats_server.url):
        await eventually(lambda: listener.all(NodeHeartbeat))
    for _, headers, message in listener.heard:
        assert headers["ce-specversion"] == "1.0"
        assert headers["ce-source"] == "/nodes/worker%2E1%20%25"
        assert headers["ce-type"] == f"heliograph.v1.{type(message).__name__}"
        assert headers["content-type"] == "application/json"
    ids = [headers["ce-id"] for _, headers, _ in listener.heard]
    assert len(set(ids)) == len(ids)


async def test_every_change_reaches_a_reader(node: Node, listener: Listener, nats_server: NatsServer) -> None:
    chance = random.Random(1)
    blobs = [digest_of(bytes([number])) for number in range(8)]
    tags = [TAG, "reg.test/team/app:v2", FILTERED]
    async with node.running(nats_server.url):
        for step in range(200):
            digest, reference = chance.choice(blobs), chance.choice(tags)
            changes: list[StoreEvent] = [
                BlobAdded(digest, step),
                BlobRemoved(digest),
                TagSet(reference, digest, step),
                TagRemoved(reference),
            ]
            node.store.happen(chance.choice(changes))
            if step % 20 == 0:
                await asyncio.sleep(0.02)
        await in_step(node, listener)
    assert len(listener.all(ContentChanged)) < 40


async def test_the_first_changes_go_at_once_and_many_more_go_together(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    async with node.running(nats_server.url):
        await eventually(lambda: listener.all(NodeHeartbeat))
        began = time.time()
        for number in range(200):
            node.store.happen(BlobAdded(digest_of(bytes([number])), 1))
            await asyncio.sleep(0.01)
        await in_step(node, listener)
    arrivals = [at - began for at, _, message in listener.heard if isinstance(message, ContentChanged)]
    assert arrivals[0] < 0.15
    assert len(arrivals) < 60
    assert arrivals[-1] < 6


async def test_a_large_store_comes_in_messages_within_the_limit(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    for number in range(25_000):
        node.store.happen(BlobAdded(digest_of(f"{number}".encode()), number))
    async with node.running(nats_server.url):
        await in_step(node, listener)
        chunks = await listener.snapshot()
    assert len(chunks) == len(listener.all(ContentChanged)) == 3
    assert listener.largest_bytes <= MAX_MESSAGE_BYTES
    assert content_of(chunks).blobs == node.store.holdings.blobs


async def test_filtered_tags_are_not_announced_but_their_digests_are(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    node.store.happen(BlobAdded(BODY, 4))
    node.store.happen(TagSet(FILTERED, BODY, 1))
    async with node.running(nats_server.url):
        await in_step(node, listener)
        node.store.happen(TagSet(FILTERED, digest_of(b"moved"), 2))
        node.store.happen(TagSet(TAG, BODY, 3))
        await in_step(node, listener)
        (chunk,) = await listener.snapshot()
        await eventually(lambda: read_node_state(node.state_path).tags == {TAG: BODY})
    assert list(chunk.content) == [BODY]
    assert list(chunk.tags) == [TAG]


async def test_heartbeats_keep_coming_at_their_interval(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    async with node.running(nats_server.url):
        await eventually(lambda: len(listener.all(NodeHeartbeat)) >= 5)
    times = [at for at, _, message in listener.heard if isinstance(message, NodeHeartbeat)]
    gap = (times[-1] - times[1]) / (len(times) - 2)
    assert 0.6 * HEARTBEAT_S < gap < 4 * HEARTBEAT_S


async def test_a_change_of_addresses_is_announced_at_once_and_written_to_the_state_file(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    node.indexer._heartbeat_s = 3600  # so that no heartbeat of the interval comes first
    async with node.running(nats_server.url):
        await eventually(lambda: listener.last_heartbeat().addresses == [ADDRESS])
        node.indexer.advertise(())
        await eventually(lambda: listener.last_heartbeat().addresses == [])
        await eventually(lambda: read_node_state(node.state_path).addresses == [])


async def test_a_router_that_starts_hears_from_every_node(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    node.indexer._heartbeat_s = 3600
    async with node.running(nats_server.url):
        await eventually(lambda: listener.all(NodeHeartbeat))
        node.indexer._heartbeat_s = HEARTBEAT_S  # which bounds the jitter of the answer
        await listener.say_hello()
        await eventually(lambda: len(listener.all(NodeHeartbeat)) >= 2, HEARTBEAT_S + 10)


async def test_a_snapshot_is_the_published_state(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    node.store.happen(BlobAdded(BODY, 4))
    node.store.happen(TagSet(TAG, BODY, 1000))
    async with node.running(nats_server.url):
        await in_step(node, listener)
        chunks = await listener.snapshot()
    assert content_of(chunks) == listener.replica.content
    assert chunks[0].sequence == listener.replica.sequence
    assert (chunks[0].node, chunks[0].addresses, chunks[0].zone) == (NODE, [ADDRESS], "zone-a")


async def test_malformed_requests_are_logged_once_and_the_next_good_one_is_answered(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    with capture_logs() as lines:
        async with node.running(nats_server.url):
            await eventually(lambda: listener.all(NodeHeartbeat))
            for payload in (b"", b"\xff\x00", b"[]", b'{"incarnation": "1"}', b'{"incarnation": -1}'):
                assert (await listener.ask(payload)).empty()
            assert await listener.snapshot()
    logged = [line["kind"] for line in lines if "first_reason" in line]
    assert logged == ["SnapshotRequest"]


async def test_a_node_leaves_when_it_stops(node: Node, listener: Listener, nats_server: NatsServer) -> None:
    node.store.happen(BlobAdded(BODY, 4))
    async with node.running(nats_server.url):
        await in_step(node, listener)
    await eventually(lambda: listener.all(NodeLeft))
    assert type(listener.heard[-1][2]) is NodeLeft
    assert listener.all(NodeLeft)[0].incarnation == listener.replica.incarnation


async def test_nothing_is_announced_before_the_store_was_listed(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    """An empty inventory would withdraw what the node held before its restart."""
    node.store.happen(BlobAdded(BODY, 4))
    node.store.available = False
    node.state_path.parent.mkdir()
    write_node_state(node.state_path, before := NodeState(node="of the run before"))
    async with node.running(nats_server.url):
        await eventually(lambda: node.bus.connected)
        await listener.say_hello()
        replies = await listener.ask(b"{}")
        await asyncio.sleep(1.5 * HEARTBEAT_S)
        assert listener.heard == []
        assert replies.empty()
        assert read_node_state(node.state_path) == before
        assert unready_for(node) == {"store"}
        node.store.available = True
        await in_step(node, listener)
        await eventually(lambda: read_node_state(node.state_path).addresses == [ADDRESS])
        assert unready_for(node) == set()


async def test_a_store_that_comes_back_is_compared_not_announced_anew(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    kept, removed, added = (digest_of(name) for name in (b"kept", b"removed", b"added"))
    node.store.happen(BlobAdded(kept, 1))
    node.store.happen(BlobAdded(removed, 1))
    async with node.running(nats_server.url):
        await in_step(node, listener)
        node.store.available = False
        await eventually(lambda: not node.store.watched)
        node.store.happen(BlobRemoved(removed))
        node.store.happen(BlobAdded(added, 1))
        node.store.available = True
        await in_step(node, listener)
    last = listener.all(ContentChanged)[-1]
    assert (last.removed, list(last.added)) == ([removed], [added])


async def test_changes_during_an_outage_of_the_bus_are_caught_up_with(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    node.store.happen(BlobAdded(BODY, 4))
    async with node.running(nats_server.url):
        await in_step(node, listener)
        await nats_server.stop()
        await eventually(lambda: not node.bus.connected)
        assert unready_for(node) == {"bus"}
        node.store.happen(TagSet(TAG, BODY, 5))
        for number in range(1000):
            node.store.happen(BlobAdded(digest_of(f"{number}".encode()), 1))
            node.store.happen(BlobRemoved(digest_of(f"{number}".encode())))
        await eventually(lambda: read_node_state(node.state_path).tags == {TAG: BODY})
        await nats_server.start()
        await eventually(lambda: node.bus.connected)
        await eventually(lambda: listener._client.is_connected)
        # What was said before the reader was back is lost to it: it asks, as a router would.
        await eventually(lambda: listener.last_heartbeat().sequence == 2)
        chunks = await listener.snapshot()
        assert content_of(chunks).tags[TAG].digest == BODY
        assert content_of(chunks).blobs == {BODY: 4}
        listener.failure = None


async def test_the_state_file_is_written_without_a_bus(node: Node, tmp_path: Path) -> None:
    node.store.happen(TagSet(TAG, BODY, 1))
    async with node.running("nats://127.0.0.1:1"):
        await eventually(node.state_path.exists)
        state = read_node_state(node.state_path)
        assert (state.node, state.addresses, state.tags) == (NODE, [ADDRESS], {TAG: BODY})


async def test_a_state_file_that_cannot_be_written_is_tried_again(
    node: Node, listener: Listener, nats_server: NatsServer
) -> None:
    node.store.happen(TagSet(TAG, BODY, 1))
    obstacle = node.state_path.parent
    obstacle.write_text("not a directory")
    with capture_logs() as lines:
        async with node.running(nats_server.url):
            await in_step(node, listener)
            await eventually(lambda: warnings_about(node.state_path, lines))
            obstacle.unlink()
            await eventually(node.state_path.exists)
            assert read_node_state(node.state_path).tags == {TAG: BODY}
    assert len(warnings_about(node.state_path, lines)) == 1


async def test_an_indexer_whose_clock_was_set_back_outbids_the_incarnation_that_routers_know(
    tmp_path: Path, listener: Listener, nats_server: NatsServer
) -> None:
    """And no snapshot ever shows it empty: that would withdraw all its content."""
    node, remembered = Node(tmp_path, incarnation=1000), 5000
    node.store.happen(BlobAdded(BODY, 4))
    node.store.happen(TagSet(TAG, BODY, 1))
    async with node.running(nats_server.url):
        await in_step(node, listener)
        chunks = await listener.snapshot(remembered)
        assert chunks[0].incarnation == remembered + 1
        assert content_of(chunks).blobs == {BODY: 4}
        await eventually(lambda: listener.replica.incarnation == remembered + 1)
        await in_step(node, listener)
        await eventually(lambda: listener.last_heartbeat().incarnation == remembered + 1)
        (chunk,) = await listener.snapshot(remembered + 1)
        assert (chunk.incarnation, chunk.sequence) == (remembered + 1, listener.replica.sequence)


async def test_an_old_indexer_does_not_outbid_another_of_its_name(
    tmp_path: Path, listener: Listener, nats_server: NatsServer
) -> None:
    node = Node(tmp_path, incarnation=1000)
    async with node.running(nats_server.url):
        await eventually(lambda: listener.all(NodeHeartbeat))
        assert node.indexer._announced_at is not None
        node.indexer._announced_at -= 61
        (chunk,) = await listener.snapshot(5000)
    assert chunk.incarnation == 1000


async def test_an_incarnation_that_routers_refuse_is_not_outbid(
    tmp_path: Path, listener: Listener, nats_server: NatsServer
) -> None:
    """Otherwise a forged request would make routers refuse this node until its clock is that far."""
    node = Node(tmp_path, incarnation=1000)
    async with node.running(nats_server.url):
        await eventually(lambda: listener.all(NodeHeartbeat))
        for forged in (2**63 - 1, 2**63 - 2, time.time_ns() + 3600 * 10**9):
            assert (await listener.snapshot(forged))[0].incarnation == 1000
        assert node.indexer.namesake() is None
        near = time.time_ns() + 60 * 10**9
        assert (await listener.snapshot(near))[0].incarnation == near + 1


async def test_two_indexers_of_one_name_learn_of_each_other(
    tmp_path: Path, listener: Listener, nats_server: NatsServer
) -> None:
    node = Node(tmp_path, incarnation=1000)
    older, later = ["10.0.0.1:5000"], ["10.0.0.2:5000"]

    def told(**more: Any) -> bytes:
        return encode(SnapshotRequest(addresses=later, namesake_addresses=older, **more))

    async with node.running(nats_server.url):
        await eventually(lambda: listener.all(NodeHeartbeat))
        await listener.ask(told(incarnation=1000, namesake=500))
        await eventually(lambda: node.indexer.namesake() == Namesake(500, tuple(older)))
        node.indexer._announced_at = time.monotonic() - 61
        await listener.ask(told(incarnation=2000, namesake=1000))
        await eventually(lambda: node.indexer.namesake() == Namesake(2000, tuple(later)))
        await listener.snapshot(3000)
        assert node.indexer.namesake() == Namesake(3000)
