"""The indexer as a black box: an OCI layout on one side, a real bus on the other, settings between."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heliograph_shared import subjects
from heliograph_shared.digest import Digest
from heliograph_shared.events import NodeLeft
from heliograph_shared.node_state import read_node_state
from tests.support.images import Image, make_image, write_layout
from tests.support.nats import NatsServer
from tests.support.otlp import OtlpReceiver
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tests.unit.indexer.listener import Listener, listening
from tests.unit.indexer.program import NODE, Program

TAG = "reg.test/team/app:v1"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return tmp_path / "layout"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return make_image(tmp_path / "image", [1000, 2000])


@pytest.fixture
async def listener(nats_server: NatsServer) -> AsyncIterator[Listener]:
    async with listening(nats_server.url, NODE) as listening_one:
        yield listening_one


@asynccontextmanager
async def indexer(directory: Path, nats_url: str, layout: Path, **environment: str) -> AsyncIterator[Program]:
    program = Program(
        directory, nats_url, CONTENT_STORE="oci-layout", CONTENT_PATH=str(layout), **environment
    )
    async with program.process:
        yield program


def digests(image: Image) -> set[str]:
    return {blob.digest for blob in image.blobs()}


async def test_a_layout_is_announced_and_an_image_that_is_added_too(
    tmp_path: Path, layout: Path, image: Image, listener: Listener, nats_server: NatsServer
) -> None:
    write_layout(image, layout, TAG)
    async with indexer(tmp_path, nats_server.url, layout) as program:
        await eventually(program.ready)
        await eventually(lambda: set(listener.replica.blobs) == digests(image))
        assert listener.replica.tags[TAG].digest == image.target.digest
        assert listener.last_heartbeat().addresses == ["127.0.0.1:5000"]

        another = make_image(tmp_path / "another", [500], seed=1)
        write_layout(another, layout, "reg.test/team/other:v1")
        await eventually(lambda: set(listener.replica.blobs) == digests(image) | digests(another))
        await eventually(
            lambda: (
                read_node_state(program.state_path).tags
                == {TAG: image.target.digest, "reg.test/team/other:v1": another.target.digest}
            )
        )
        metrics = program.metrics("heliograph_indexer_")
        assert metrics["advertised_images"] == metrics["advertised_tags"] == 2
        assert metrics["advertised_digests"] == len(listener.replica.blobs)
        assert metrics["advertised_addresses"] == 1
        assert metrics["store_watched"] == metrics["bus_connected"] == 1
        assert metrics['published_messages_total{kind="ContentChanged"}'] >= 2
        assert metrics["store_resyncs_total"] >= 2
        assert metrics['event_lag_seconds_count{stage="published"}'] >= 2
        assert metrics['event_lag_seconds_sum{stage="published"}'] > 0


async def test_a_missing_layout_is_logged_and_waited_for(
    tmp_path: Path, layout: Path, image: Image, listener: Listener, nats_server: NatsServer
) -> None:
    async with indexer(tmp_path, nats_server.url, layout) as program:
        await eventually(lambda: any(str(layout) in line.get("store", "") for line in program.lines()))
        await eventually(lambda: program.get("/readyz")[0] == 503)
        assert "store" in program.get("/readyz")[1]
        write_layout(image, layout, TAG)
        await eventually(lambda: set(listener.replica.blobs) == digests(image))
        assert program.ready()


async def test_sigterm_withdraws_the_node_and_ends_cleanly(
    tmp_path: Path, layout: Path, image: Image, listener: Listener, nats_server: NatsServer
) -> None:
    write_layout(image, layout, TAG)
    async with indexer(tmp_path, nats_server.url, layout) as program:
        await eventually(lambda: listener.replica.blobs)
        program.process.send(signal.SIGTERM)
        assert await program.process.ended(5) == 0
    await eventually(lambda: listener.all(NodeLeft))


async def test_without_a_bus_it_stops_as_cleanly_and_has_written_the_state_file(
    tmp_path: Path, layout: Path, image: Image
) -> None:
    write_layout(image, layout, TAG)
    async with indexer(tmp_path, f"nats://127.0.0.1:{free_port()}", layout) as program:
        await eventually(program.state_path.exists)
        assert read_node_state(program.state_path).tags == {TAG: Digest(image.target.digest)}
        status, reason = program.get("/readyz")
        assert status == 503
        assert "bus" in reason
        assert "store" not in reason
        assert program.get("/livez")[0] == 200
        program.process.send(signal.SIGTERM)
        assert await program.process.ended(5) == 0


async def test_addresses_are_advertised_while_the_registry_is_ready(
    tmp_path: Path, layout: Path, image: Image, listener: Listener, nats_server: NatsServer
) -> None:
    write_layout(image, layout, TAG)
    port = free_port()
    url = f"http://127.0.0.1:{port}/readyz"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with indexer(
        tmp_path, nats_server.url, layout, REGISTRY_READY_URL=url, HEARTBEAT_S="60"
    ) as program:
        await eventually(lambda: listener.last_heartbeat().addresses == [])
        async with await asyncio.start_server(answer, "127.0.0.1", port):
            await eventually(lambda: listener.last_heartbeat().addresses == ["127.0.0.1:5000"], 20)
            await eventually(lambda: read_node_state(program.state_path).addresses == ["127.0.0.1:5000"])
        await eventually(lambda: listener.last_heartbeat().addresses == [], 20)
        await eventually(lambda: read_node_state(program.state_path).addresses == [])


async def test_what_the_registry_cannot_serve_is_withdrawn_until_it_can(
    tmp_path: Path, layout: Path, image: Image, listener: Listener, nats_server: NatsServer
) -> None:
    write_layout(image, layout, TAG)
    layer = image.layers[0].digest
    unservable = [layer]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        body = json.dumps({"digests": unservable}).encode() if path == b"/unservable" else b"ok"
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/readyz"
        async with indexer(
            tmp_path, nats_server.url, layout, REGISTRY_READY_URL=url, HEARTBEAT_S="60"
        ) as program:
            await eventually(lambda: set(listener.replica.blobs) == digests(image) - {layer})
            assert set(listener.replica.tags) == {TAG}
            await eventually(lambda: program.metric("heliograph_indexer_withheld_digests") == 1)
            unservable.clear()
            await eventually(lambda: set(listener.replica.blobs) == digests(image))


async def test_filters_keep_tags_to_the_node_and_leave_digests(
    tmp_path: Path, layout: Path, image: Image, listener: Listener, nats_server: NatsServer
) -> None:
    write_layout(image, layout, TAG)
    write_layout(image, layout, "other.test/app:v1")
    write_layout(image, layout, "reg.test/secret/app:v1")
    async with indexer(
        tmp_path,
        nats_server.url,
        layout,
        MIRRORED_REGISTRIES="https://reg.test",
        REGISTRY_FILTERS="^reg[.]test/secret/",
    ) as program:
        await eventually(lambda: set(listener.replica.blobs) == digests(image))
        assert set(listener.replica.tags) == {TAG}
        await eventually(program.state_path.exists)
        assert set(read_node_state(program.state_path).tags) == {TAG}


@pytest.mark.parametrize(
    ("setting", "value"), [("REGISTRY_FILTERS", "["), ("MIRRORED_REGISTRIES", "not a registry")]
)
async def test_an_invalid_filter_is_one_log_line_and_an_exit(
    tmp_path: Path, layout: Path, setting: str, value: str
) -> None:
    async with indexer(tmp_path, "nats://127.0.0.1:1", layout, **{setting: value}) as program:
        assert await program.process.ended(20) == 1
        (line,) = program.lines()
        assert (line["level"], line["service"]) == ("error", "heliograph-indexer")
        assert "Traceback" not in program.log


async def test_an_occupied_admin_port_is_one_log_line_and_an_exit(tmp_path: Path, layout: Path) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as occupied:
        port = occupied.sockets[0].getsockname()[1]
        listen = f"127.0.0.1:{port}"
        async with indexer(tmp_path, "nats://127.0.0.1:1", layout, ADMIN_LISTEN=listen) as program:
            assert await program.process.ended(20) == 1
            (line,) = program.lines()
            assert line["level"] == "error"
            assert listen in line["reason"]
            assert "Traceback" not in program.log


async def test_a_killed_indexer_comes_back_as_a_later_incarnation(
    tmp_path: Path, layout: Path, image: Image, listener: Listener, nats_server: NatsServer
) -> None:
    write_layout(image, layout, TAG)
    async with indexer(tmp_path, nats_server.url, layout) as program:
        await eventually(lambda: listener.replica.blobs)
        before = listener.replica.incarnation
        await program.process.kill()
        program.process.start()
        await eventually(lambda: listener.replica.incarnation > before)
        await eventually(lambda: set(listener.replica.blobs) == digests(image))


async def test_publishing_content_is_a_producer_span_that_readers_can_link_to(
    tmp_path: Path,
    layout: Path,
    image: Image,
    listener: Listener,
    nats_server: NatsServer,
    otlp_receiver: OtlpReceiver,
) -> None:
    write_layout(image, layout, TAG)
    async with indexer(
        tmp_path,
        nats_server.url,
        layout,
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp_receiver.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_BSP_SCHEDULE_DELAY="100",
    ):
        await eventually(lambda: otlp_receiver.spans("send heliograph.v1.content"))
    span = otlp_receiver.spans("send heliograph.v1.content")[0]
    assert (span.kind, span.service_name) == ("producer", "heliograph-indexer")
    assert span.resource["service.instance.id"] == NODE
    assert span.attributes == {
        "messaging.system": "nats",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": subjects.content(NODE),
        "messaging.destination.template": "heliograph.v1.content",
    }
    traceparent = listener.heard[0][1]["traceparent"]
    assert traceparent.split("-")[1:3] == [span.trace_id, span.span_id]
