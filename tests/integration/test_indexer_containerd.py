"""The indexer with a real containerd of every version: pulls, garbage collection, namespaces and restarts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.events import ContentChanged, NodeHeartbeat
from heliograph_shared.node_state import read_node_state
from tests.contract.content_store_support import ContainerdHand, containerd
from tests.integration.registry_support import serve_registry
from tests.support.images import make_image, push
from tests.support.machines import SERIES, absent
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.unit.indexer.listener import Listener, listening
from tests.unit.indexer.program import NODE, Program

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

ON_TIME_S = 1.0  # half of the blobs; a busy machine may be late with some
TAG = "reg.test/team/app:v1"
PATIENCE_S = 30


@pytest.fixture(params=SERIES)
async def node(request: pytest.FixtureRequest) -> AsyncIterator[ContainerdHand]:
    async with containerd(request.param) as daemon:
        yield ContainerdHand(daemon)


@pytest.fixture
async def listener(nats_server: NatsServer) -> AsyncIterator[Listener]:
    async with listening(nats_server.url, NODE) as listening_one:
        yield listening_one


@asynccontextmanager
async def indexer(
    directory: Path, nats: NatsServer, node: ContainerdHand, **environment: str
) -> AsyncIterator[Program]:
    """Ready when entered."""
    program = Program(directory, nats.url, CONTAINERD_SOCKET=str(node.daemon.socket), **environment)
    async with program.process:
        await eventually(program.ready, PATIENCE_S)
        yield program


def first_heard(listener: Listener, digest: str) -> float:
    """When a blob was announced; asserts that it was."""
    for at, _, message in listener.heard:
        if isinstance(message, ContentChanged) and digest in message.added:
            return at
    raise AssertionError(f"{digest} was not announced")


async def test_every_blob_of_a_pull_is_on_the_bus_within_a_second_of_its_commit(
    tmp_path: Path, node: ContainerdHand, listener: Listener, nats_server: NatsServer
) -> None:
    image = make_image(tmp_path / "image", [100_000, 5_000_000, 10, 20_000], index=True)
    async with Upstream(tmp_path) as upstream, indexer(tmp_path, nats_server, node) as program:
        await push(image, upstream.url, "team/app", "v1")
        node.daemon.mirror("reg.test", upstream.url)
        await node.daemon.cri.pull(TAG)
        wanted = {blob.digest for blob in image.pulled()}
        await eventually(lambda: set(listener.replica.blobs) == wanted)
        await eventually(lambda: TAG in listener.replica.tags)
        assert listener.replica.tags[TAG].digest == image.target.digest
        await eventually(lambda: set(read_node_state(program.state_path).tags) == {TAG})
        metrics = program.metrics("heliograph_indexer_event_lag_seconds_")
        for stage in ("noticed", "published"):
            count, total = metrics[f'count{{stage="{stage}"}}'], metrics[f'sum{{stage="{stage}"}}']
            assert count > 0
            assert 0 < total / count < 5 * ON_TIME_S
    committed = {digest: node.daemon.blob_path(digest).stat().st_ctime for digest in wanted}
    lags = sorted(first_heard(listener, digest) - at for digest, at in committed.items())
    assert lags[len(lags) // 2] < ON_TIME_S, lags
    assert list(listener.replica.tags) == [TAG]
    assert listener.replica.blobs == {Digest(blob.digest): blob.size_bytes for blob in image.pulled()}


async def test_what_the_garbage_collector_removes_silently_is_withdrawn(
    tmp_path: Path, node: ContainerdHand, listener: Listener, nats_server: NatsServer
) -> None:
    digest = await node.add_blob(b"garbage as soon as its name is gone")
    await node.tag(TAG, digest)
    async with indexer(tmp_path, nats_server, node):
        await eventually(lambda: digest in listener.replica.blobs)
        await node.daemon.store.delete_image(TAG, collect=True)
        await eventually(lambda: (listener.replica.blobs, listener.replica.tags) == ({}, {}))


@pytest.mark.parametrize("node", ["2"], indirect=True)
async def test_a_tag_has_one_name_whatever_the_capitals_of_its_registry(
    tmp_path: Path, node: ContainerdHand, listener: Listener, nats_server: NatsServer
) -> None:
    capitals = TAG.replace("reg.test", "REG.Test")
    older, newer = await node.add_blob(b"older"), await node.add_blob(b"newer")
    await node.tag(TAG, older)
    async with indexer(tmp_path, nats_server, node) as program:
        await eventually(lambda: TAG in listener.replica.tags)
        await node.tag(capitals, newer)
        await eventually(lambda: listener.replica.tags[TAG].digest == newer)
        await eventually(lambda: read_node_state(program.state_path).tags == {TAG: newer})
        assert list(listener.replica.tags) == [TAG]
        await node.daemon.store.delete_image(capitals, collect=False)
        await eventually(lambda: listener.replica.tags[TAG].digest == older)


async def test_a_blob_whose_file_is_gone_is_withdrawn_once_a_peer_has_asked_for_it(
    tmp_path: Path, node: ContainerdHand, listener: Listener, nats_server: NatsServer
) -> None:
    """Until then containerd lists it, and it is announced."""
    digest, other = await node.add_blob(b"its file is lost"), await node.add_blob(b"whole")
    file = node.daemon.blob_path(digest)
    settings = {"content_path": file.parents[2], "first_byte_timeout_ms": 10_000}
    async with serve_registry(tmp_path / "registry", NODE, free_port(), **settings) as serving:
        url = f"{serving.admin}/readyz"
        async with indexer(tmp_path, nats_server, node, REGISTRY_READY_URL=url) as program:
            await eventually(lambda: set(listener.replica.blobs) == {digest, other}, PATIENCE_S)
            file.unlink()
            for asked, status in ((digest, 404), (other, 200)):
                answer = await serving.http.get(f"/v2/app/blobs/{asked}", headers={"heliograph-peer": "n2"})
                assert answer.status_code == status
            await eventually(lambda: set(listener.replica.blobs) == {other}, PATIENCE_S)
            assert program.metric("heliograph_indexer_withheld_digests") == 1


async def test_content_that_another_namespace_keeps_is_withdrawn_too(
    tmp_path: Path, node: ContainerdHand, listener: Listener, nats_server: NatsServer
) -> None:
    """Its file stays, so no file change hints at it."""
    digest = await node.add_blob(b"shared")
    await node.tag(TAG, digest)
    await node.add_blob(b"shared", namespace="other")
    await node.ctr("content", "label", digest, "containerd.io/gc.root=test", namespace="other")
    async with indexer(tmp_path, nats_server, node):
        await eventually(lambda: digest in listener.replica.blobs)
        await node.daemon.store.delete_image(TAG, collect=True)
        await eventually(lambda: listener.replica.blobs == {})
        assert node.daemon.blob_path(digest).exists()


async def test_content_of_other_namespaces_is_not_announced(
    tmp_path: Path, node: ContainerdHand, listener: Listener, nats_server: NatsServer
) -> None:
    async with indexer(tmp_path, nats_server, node):
        await node.add_blob(b"not ours", namespace="other")
        ours = await node.add_blob(b"ours")
        await eventually(lambda: ours in listener.replica.blobs)
        assert set(listener.replica.blobs) == {ours}


async def test_a_restart_of_containerd_is_survived_and_its_content_stays_announced(
    tmp_path: Path, node: ContainerdHand, listener: Listener, nats_server: NatsServer
) -> None:
    kept = await node.add_blob(b"kept")
    async with indexer(tmp_path, nats_server, node) as program:
        await eventually(lambda: kept in listener.replica.blobs)
        await node.daemon.kill()
        await eventually(lambda: program.get("/readyz")[0] == 503)
        assert any(line.get("store") for line in program.lines())
        heartbeats = len(listener.all(NodeHeartbeat))
        await eventually(lambda: len(listener.all(NodeHeartbeat)) > heartbeats + 1)
        await node.daemon.start()
        late = await node.add_blob(b"late")
        await eventually(lambda: set(listener.replica.blobs) == {kept, late}, PATIENCE_S)
        await eventually(program.ready)
    assert listener.all(ContentChanged)[-1].removed == []
    assert "Traceback" not in program.log


async def test_a_socket_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, node: ContainerdHand, listener: Listener, nats_server: NatsServer
) -> None:
    digest = digest_of(b"content")
    await node.add_blob(b"content")
    await node.daemon.stop()
    node.daemon.socket.unlink(missing_ok=True)
    program = Program(tmp_path, nats_server.url, CONTAINERD_SOCKET=str(node.daemon.socket))
    async with program.process:
        await eventually(
            lambda: any(str(node.daemon.socket) in line.get("store", "") for line in program.lines())
        )
        await node.daemon.start()
        await eventually(lambda: digest in listener.replica.blobs, PATIENCE_S)
        assert "Traceback" not in program.log


async def test_a_content_directory_that_cannot_be_watched_is_listed_instead(
    tmp_path: Path, node: ContainerdHand, listener: Listener, nats_server: NatsServer
) -> None:
    content_path = tmp_path / "not" / "mounted" / "here"
    program = Program(
        tmp_path,
        nats_server.url,
        CONTAINERD_SOCKET=str(node.daemon.socket),
        CONTENT_PATH=str(content_path),
    )
    async with program.process:
        await eventually(program.ready, PATIENCE_S)
        digest = await node.add_blob(b"content")
        await eventually(lambda: digest in listener.replica.blobs, PATIENCE_S)
        await node.remove_blob(digest)
        await eventually(lambda: listener.replica.blobs == {})
    (line,) = [line for line in program.lines() if line.get("path") == str(content_path / "blobs")]
    assert line["level"] == "warning"
