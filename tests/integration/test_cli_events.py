"""`heliograph events` on a real bus."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from heliograph_shared import events, subjects
from heliograph_shared.digest import digest_of
from heliograph_shared.inventory import RunningInventory
from tests.integration.cli_support import heliograph, started
from tests.support.nats import NatsServer
from tests.support.ports import free_port

NOTHING = RunningInventory().freeze()
CHANGE = events.ContentChanged(
    node="worker-1", incarnation=1, sequence=1, added={digest_of(b"x"): 2048}, inventory=NOTHING
)


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(nats_server.url)
    yield client
    await client.close()


async def first_line(bus: Client, process: asyncio.subprocess.Process) -> bytes:
    """Publish until the command, which has no way to say that it listens, has shown something."""
    assert process.stdout is not None
    reading = asyncio.ensure_future(process.stdout.readline())
    async with asyncio.timeout(20):
        while not reading.done():
            await bus.publish(
                subjects.content("worker-1"), events.encode(CHANGE), headers={"ce-type": "a.type"}
            )
            await bus.publish(subjects.node("worker-2"), b"broken")
            await asyncio.wait([reading], timeout=0.05)
    return await reading


async def test_messages_are_shown_as_they_come_until_it_is_interrupted(
    nats_server: NatsServer, bus: Client
) -> None:
    async with started("events", environment={"HELIOGRAPH_NATS_URL": nats_server.url}) as process:
        lines = [await first_line(bus, process), await process.stdout.readline()]  # type: ignore[union-attr]
        shown = next(line for line in lines if b"content" in line).decode()
        assert shown.rstrip().endswith("worker-1      content    seq 1, +1 (2 KiB) -0 blobs")
        assert any(b"worker-2" in line and b"malformed" in line for line in lines)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_json_lines_are_for_programs(nats_server: NatsServer, bus: Client) -> None:
    async with started("events", "--nats", nats_server.url, "--json") as process:
        lines = [await first_line(bus, process), await process.stdout.readline()]  # type: ignore[union-attr]
        by_subject = {line["subject"]: line for line in map(json.loads, lines)}
    assert by_subject[subjects.content("worker-1")] == {
        "subject": subjects.content("worker-1"),
        "headers": {"ce-type": "a.type"},
        "data": CHANGE.model_dump(),
    }
    assert by_subject[subjects.node("worker-2")]["data"] == "broken"
    assert "not a NodeHeartbeat" in by_subject[subjects.node("worker-2")]["malformed"]


async def test_a_reader_that_has_enough_ends_it_quietly(nats_server: NatsServer, bus: Client) -> None:
    async with started("events", "--nats", nats_server.url) as process:
        await first_line(bus, process)
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            while process.returncode is None:
                for _ in range(50):  # so that some are left that it has received and not printed
                    await bus.publish(subjects.content("worker-1"), b"")
                await asyncio.sleep(0.02)
        assert process.returncode == 0
        assert await process.stderr.read() == b""  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nats://user:secret@127.0.0.1:{port}", "no NATS server answers at 127.0.0.1:{port}"),
        ("nats://127.0.0.1:x", "not the address of a NATS server"),
        ("", "no address of a NATS server is given"),
    ],
)
async def test_a_bus_that_does_not_answer_is_a_line_and_an_exit_code(url: str, reason: str) -> None:
    port = free_port()
    done = await heliograph("events", "--nats", url.format(port=port))
    assert (done.code, done.out) == (1, "")
    assert reason.format(port=port) in done.err
    assert "secret" not in done.err
    assert len(done.err.splitlines()) == 1


RESTRICTED = """authorization { users: [
  { user: reader, password: right, permissions: { subscribe: ["heliograph.v1.>"] } }
  { user: indexer, password: right, permissions: { subscribe: ["heliograph.v1.hello"] } }
] }"""


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[NatsServer]:
    config = tmp_path / "users.conf"
    config.write_text(RESTRICTED)
    async with NatsServer(tmp_path, arguments=["--config", str(config)]) as server:
        yield server


async def test_a_bus_that_refuses_says_why(guarded: NatsServer, tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.write_text("reader:wrong\n")
    for flags in ([], ["--nats-user-file", str(user)]):
        told = await heliograph("events", "--nats", guarded.url, *flags)
        assert (told.code, told.out) == (1, "")
        assert "authorization violation" in told.err.lower()
        assert "wrong" not in told.err


async def test_a_user_that_may_not_hear_it_is_told_so(guarded: NatsServer, tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.write_text("indexer:right\n")
    flags = ["--nats", guarded.url, "--nats-user-file", str(user)]
    async with started("events", *flags) as process:
        async with asyncio.timeout(20):
            line = await process.stderr.readline()  # type: ignore[union-attr]
        assert b"permissions violation for subscription" in line.lower()
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 10) == 0
