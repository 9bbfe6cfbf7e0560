"""A connection to a real nats-server that outlives everything the server does."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from heliograph_shared import bus
from heliograph_shared.bus import connect
from heliograph_shared.runtime import StartupError
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.processes


class Calls:
    """What the connection tells, and one subscription that is made at the first connection."""

    def __init__(self) -> None:
        self.connected = self.reconnected = self.disconnected = 0
        self.received: list[bytes] = []

    async def on_connect(self, client: Client) -> None:
        self.connected += 1

        async def received(message: Msg) -> None:
            self.received.append(message.data)

        await client.subscribe("test.subject", cb=received)
        await client.flush()

    async def on_reconnect(self) -> None:
        self.reconnected += 1

    async def on_disconnect(self) -> None:
        self.disconnected += 1


@asynccontextmanager
async def connected(calls: Calls, *servers: str) -> AsyncIterator[Client]:
    async with connect(
        servers,
        name="test",
        on_connect=calls.on_connect,
        on_reconnect=calls.on_reconnect,
        on_disconnect=calls.on_disconnect,
    ) as client:
        yield client


async def publish(server: NatsServer, data: bytes) -> None:
    other = await nats.connect(server.url)
    await other.publish("test.subject", data)
    await other.drain()


async def test_it_connects_once_and_receives(nats_server: NatsServer) -> None:
    calls = Calls()
    async with connected(calls, nats_server.url) as client:
        await eventually(lambda: calls.connected)
        assert client.is_connected
        await publish(nats_server, b"1")
        await eventually(lambda: calls.received == [b"1"])
    assert client.is_closed
    assert (calls.connected, calls.reconnected) == (1, 0)


async def test_a_server_may_come_late(tmp_path: Path) -> None:
    calls, server = Calls(), NatsServer(tmp_path)
    async with connected(calls, server.url) as client:
        await asyncio.sleep(0.3)  # let it fail at least once
        assert calls.connected == 0
        await server.start()
        await eventually(lambda: calls.connected == 1)
        assert client.is_connected
    await server.stop()


async def test_one_server_of_several_is_enough(nats_server: NatsServer) -> None:
    calls = Calls()
    async with connected(calls, f"nats://127.0.0.1:{free_port()}", nats_server.url):
        await eventually(lambda: calls.connected == 1)


def reached(calls: Calls, name: str, wanted: object) -> bool:
    return bool(getattr(calls, name) == wanted)


async def test_a_restarted_server_is_found_again_with_the_subscription(nats_server: NatsServer) -> None:
    calls = Calls()
    with capture_logs() as logs:
        async with connected(calls, nats_server.url) as client:
            await eventually(lambda: calls.connected)
            for n in (1, 2):
                await nats_server.stop()
                await eventually(partial(reached, calls, "disconnected", n))
                assert not client.is_connected
                await nats_server.start()
                await eventually(partial(reached, calls, "reconnected", n))
                await publish(nats_server, b"%d" % n)
                await eventually(partial(reached, calls, "received", [b"1", b"2"][:n]))
    assert calls.connected == 1
    told = [entry["event"] for entry in logs]
    assert told.count("bus connection lost, reconnecting") == told.count("bus connection restored") == 2


async def test_a_server_that_only_hangs_is_noticed(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_PING_INTERVAL_S", 0.2)
    calls = Calls()
    async with connected(calls, nats_server.url):
        await eventually(lambda: calls.connected)
        nats_server.pause()
        try:
            await eventually(lambda: calls.disconnected, 30)
        finally:
            nats_server.resume()
        await eventually(lambda: calls.reconnected, 30)


async def test_what_was_published_last_is_sent(nats_server: NatsServer) -> None:
    listening, leaving = Calls(), Calls()
    async with connected(listening, nats_server.url):
        await eventually(lambda: listening.connected)
        async with connected(leaving, nats_server.url) as client:
            await eventually(lambda: leaving.connected)
            await client.publish("test.subject", b"goodbye")
        await eventually(lambda: b"goodbye" in listening.received)


async def test_a_server_that_hangs_up_instead_of_an_answer_is_not_a_connection() -> None:
    """As a client sees it whose refusal was lost: the server closes with our PING unread, which resets."""
    greeted: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id": "x", "version": "2.10.0", "max_payload": 1000}\r\n')
        greeted.append(await reader.readuntil(b"PING\r\n"))
        writer.close()

    calls, reasons = Calls(), list[str]()
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url, on_error = f"nats://127.0.0.1:{port}", reasons.append
        async with connect([url], name="test", on_connect=calls.on_connect, on_error=on_error) as client:
            await eventually(lambda: len(greeted) >= 2 and reasons)
            assert not client.is_connected
    assert calls.connected == 0
    assert set(reasons) == {"the server closed the connection"}


async def test_it_closes_quickly_though_it_never_connected() -> None:
    calls = Calls()
    async with connected(calls, f"nats://127.0.0.1:{free_port()}"):
        await asyncio.sleep(0.1)
        started = time.monotonic()
    assert time.monotonic() - started < 10
    assert calls.connected == 0


async def test_it_closes_quickly_though_the_server_is_gone(nats_server: NatsServer) -> None:
    calls = Calls()
    async with connected(calls, nats_server.url):
        await eventually(lambda: calls.connected)
        await nats_server.kill()
        await eventually(lambda: calls.disconnected)
        started = time.monotonic()
    assert time.monotonic() - started < 10


async def test_a_body_that_ends_at_once_ends_well(nats_server: NatsServer) -> None:
    async with connected(Calls(), nats_server.url):
        pass


async def test_a_body_that_fails_is_not_held_up(nats_server: NatsServer) -> None:
    calls = Calls()

    async def fail() -> None:
        async with connected(calls, nats_server.url):
            await eventually(lambda: calls.connected)
            raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        await fail()
    assert caught.group_contains(LookupError)


async def stay_connected(*servers: str) -> None:
    async with connected(Calls(), *servers):
        await asyncio.Event().wait()


@pytest.mark.parametrize("servers", [(), ("nats://127.0.0.1:port",), ("nats://:4222",)])
async def test_what_is_no_address_ends_the_start(servers: tuple[str, ...]) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(stay_connected(*servers), 5)
    assert caught.group_contains(StartupError)


async def test_secrets_are_never_logged(tmp_path: Path) -> None:
    calls = Calls()
    server = NatsServer(tmp_path, arguments=["--user", "me", "--pass", "s3cret"])
    address = f"127.0.0.1:{server.port}"
    with capture_logs() as logs:
        async with connected(calls, f"nats://me:s3cret@{address}"):
            await asyncio.sleep(0.3)
            await server.start()
            await eventually(lambda: calls.connected)
            await server.restart()
            await eventually(lambda: calls.reconnected)
        async with connected(calls, f"nats://me:wr0ng@{address}"):
            await eventually(lambda: any("uthorization" in str(entry) for entry in logs))
    await server.stop()
    assert logs
    assert address in str(logs)
    assert "s3cret" not in str(logs)
    assert "wr0ng" not in str(logs)


async def test_who_listens_to_trouble_is_told_and_nothing_is_logged() -> None:
    told: list[str] = []
    nobody = f"nats://user:s3cret@127.0.0.1:{free_port()}"
    with capture_logs() as lines:
        async with connect([nobody], name="test", on_connect=Calls().on_connect, on_error=told.append):
            await eventually(lambda: told)
    assert "Connect call failed" in told[0]
    assert lines == []
