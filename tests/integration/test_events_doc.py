"""What `docs/events.md` tells subscribers to do works."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import nats.errors
import pytest

from heliograph_shared import subjects
from heliograph_shared.digest import digest_of
from tests.integration.router_support import BusNode, connect, living_node, serving_router
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

DOC = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
A, B = digest_of(b"a"), digest_of(b"b")


def block(language: str) -> str:
    return str(re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)[0])


@pytest.fixture
async def stream_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path, arguments=["-js", "-sd", tmp_path / "js"]) as server:
        yield server


async def test_ten_lines_of_python_show_changes(nats_server: NatsServer) -> None:
    program = block("python")
    assert len([line for line in program.splitlines() if line]) <= 10
    program = program.replace("nats://127.0.0.1:4222", nats_server.url)
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert reader.stdout is not None
    try:
        async with living_node(nats_server.url, "worker-1") as node, asyncio.timeout(20):
            line = asyncio.ensure_future(reader.stdout.readline())
            while not line.done():
                await node.change(add=[A], remove=[B])
                await asyncio.wait([line], timeout=0.1)
        assert (await line).decode() == "worker-1 gained 1 lost 1\n"
    finally:
        reader.terminate()
        await reader.wait()


async def test_a_stream_keeps_what_was_said_and_disturbs_nobody(stream_server: NatsServer) -> None:
    async with (
        connect(stream_server.url) as user,
        serving_router(stream_server.url) as router,
        living_node(stream_server.url, "worker-1") as node,
    ):
        config = json.loads(block("json"))
        made = await user.request(f"$JS.API.STREAM.CREATE.{config['name']}", json.dumps(config).encode())
        assert "error" not in json.loads(made.data), made.data
        await node.change(add=[A])
        await node.change(add=[B], lost=True)  # so that the router has to ask for a snapshot
        await router.knows(B, "worker-1")

        async def kept() -> bool:
            request = json.dumps({"last_by_subj": subjects.content("worker-1")}).encode()
            answer = await user.request(f"$JS.API.STREAM.MSG.GET.{config['name']}", request)
            return "message" in json.loads(answer.data)

        await eventually(kept, 10)
        dropped = [
            name for name in await router.metrics() if name.startswith("heliograph_router_messages_dr")
        ]
        assert dropped == []


async def test_a_snapshot_is_had_for_an_empty_request(nats_server: NatsServer) -> None:
    request = re.findall(r"nats request (\S+) '(.*?)'", DOC)[0]
    async with connect(nats_server.url) as user, living_node(nats_server.url, "worker-1") as node:
        await node.change(add=[A])
        await eventually(lambda: answers(user, node, request), 10)


async def answers(user, node: BusNode, request: tuple[str, str]) -> bool:  # type: ignore[no-untyped-def]  # noqa: ANN001
    assert request[0] == subjects.snapshot(node.name)
    try:
        reply = await user.request(request[0], request[1].encode(), timeout=1)
    except nats.errors.NoRespondersError:  # it has not subscribed yet
        return False
    return bool(json.loads(reply.data)["content"] == {A: 100})
