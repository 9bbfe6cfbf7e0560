"""`heliograph up` as a real process with real children: what it shows, what it leaves, how it ends."""

import asyncio
import json
import os
import re
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from heliograph_cli.sample_image import REFERENCE
from tests.integration.cli_support import Done, heliograph, started
from tests.support import machines
from tests.support.containerd import Containerd
from tests.support.images import make_image, write_layout
from tests.support.waiting import eventually

READY = re.compile(r"Ctrl-C")


@dataclass
class Up:
    """A cluster that has shown its table. `children` are its process ids by program."""

    process: asyncio.subprocess.Process
    out: str
    children: dict[str, int]

    def address(self, name: str) -> str:
        match = re.search(rf"^{name} +(\S+)$", self.out, re.MULTILINE)
        assert match, self.out
        return match[1]

    def left(self) -> list[int]:
        return [pid for pid in self.children.values() if alive(pid)]

    async def end(self, number: signal.Signals) -> tuple[int, str]:
        """The exit code and what it said on standard error."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> tuple[int, str]:
        _, err = await asyncio.wait_for(self.process.communicate(), 30)
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()


def is_empty(directory: Path) -> bool:
    return list(directory.iterdir()) == []


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def children_of(pid: int) -> dict[str, int]:
    """The processes that `pid` has started, by what tells them apart: program or service, and node."""
    found = {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        environment = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
        node = next((entry.partition("=")[2] for entry in environment if "HELIOGRAPH_NODE_NAME" in entry), "")
        program = command[2] if command[1:2] == ["-m"] else Path(command[0]).name
        found[f"{node} {program}".strip()] = child
    return found


@asynccontextmanager
async def cluster(directory: Path, *arguments: str) -> AsyncIterator[Up]:
    async with started("up", *arguments, environment={"TMPDIR": str(directory)}) as process:
        assert process.stdout is not None
        out = ""
        async with asyncio.timeout(90):
            while not READY.search(out):
                line = (await process.stdout.readline()).decode()
                if not line:
                    pytest.fail(f"it ended:\n{out}{(await process.communicate())[1].decode()}")
                out += line
        yield Up(process, out, children_of(process.pid))


def sources(done: Done | Up) -> list[tuple[str, str]]:
    """What and from where, of every row of the tables."""
    rows = [
        line.split() for line in done.out.splitlines() if line.startswith(("index", "manif", "conf", "layer"))
    ]
    return [(row[0], row[3]) for row in rows]


async def test_once_shows_what_came_from_where_and_leaves_nothing(tmp_path: Path) -> None:
    done = await heliograph("up", "--once", environment={"TMPDIR": str(tmp_path)})
    assert (done.code, done.err) == (0, "")
    kinds = ["index", "manifest", "config", *["layer"] * 5]
    assert sources(done) == [(kind, "peer/node-1") for kind in kinds]
    assert "node-3 pulled" in done.out
    assert "\x1b" not in done.out
    assert is_empty(tmp_path)


async def test_a_running_cluster_answers_the_other_commands(tmp_path: Path) -> None:
    async with cluster(tmp_path) as up:
        pages = re.findall(r"^node-\d +(\S+/debug/web)$", up.out, re.MULTILINE)
        assert len(pages) == 3
        async with httpx.AsyncClient(trust_env=False) as http:
            assert "Yes: 2 peers" in (await http.get(pages[1])).text
        assert sorted(up.children) == sorted(
            ["nats-server", "heliograph_router"]
            + [f"node-{n} heliograph_{service}" for n in (1, 2, 3) for service in ("indexer", "registry")]
        )
        router, bus = up.address("router"), up.address("nats")

        listed = await heliograph("nodes", environment={"HELIOGRAPH_ROUTER_TARGET": router})
        assert [row[0] for row in listed.rows("node-")] == ["node-1", "node-2", "node-3"]
        assert "3 nodes, 3 in sync" in listed.out

        found = await heliograph("resolve", REFERENCE, "--router", router)
        assert sorted(row[0] for row in found.rows("node-")) == ["node-1", "node-2", "node-3"]
        digest = found.rows("digest")[0][1]
        named = await heliograph("resolve", f"any.test/name@{digest}", "--router", router)
        assert len(named.rows("node-")) == 3
        unknown = await heliograph("resolve", "reg.test/unknown:1", "--router", router)
        assert unknown.code == 1
        assert unknown.err.startswith("heliograph: reg.test/unknown:1: ")
        assert len(unknown.err.splitlines()) == 1

        pulled = await heliograph("pull", REFERENCE, "--mirror", up.address("node-3"))
        assert {source for _, source in sources(pulled)} == {"local"}

        async with started("events", "--nats", bus, "--json") as events:
            assert events.stdout is not None
            line = json.loads(await asyncio.wait_for(events.stdout.readline(), 20))
            assert line["subject"].startswith("heliograph.v1.node.node-")
            assert "malformed" not in line

        assert await up.end(signal.SIGINT) == (0, "")
        assert up.left() == []
    assert is_empty(tmp_path)


async def test_a_child_that_dies_is_named_and_ends_it_all(tmp_path: Path) -> None:
    async with cluster(tmp_path, "--nodes", "2") as up:
        os.kill(up.children["node-2 heliograph_registry"], signal.SIGKILL)
        code, err = await up.ended()
        assert code == 1
        first_line = err.splitlines()[0]
        assert first_line.startswith("heliograph: node-2 registry ")
        assert "signal 9" in first_line
        assert up.left() == []
    assert is_empty(tmp_path)


async def test_nothing_outlives_it_when_it_is_killed(tmp_path: Path) -> None:
    async with cluster(tmp_path, "--nodes", "2") as up:
        up.process.kill()
        await eventually(lambda: up.left() == [], 10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_is_interrupted_while_it_starts_without_a_trace(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with started("up", "--once", environment={"TMPDIR": str(tmp_path)}) as process:
        await eventually(lambda: len(children_of(process.pid)) > 3, 30)
        children = children_of(process.pid)
        process.send_signal(number)
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, err) == (128 + number, b"")
        assert [pid for pid in children.values() if alive(pid)] == []
    assert is_empty(tmp_path)


async def test_an_image_of_ones_own_stores_that_are_kept_and_a_password(tmp_path: Path) -> None:
    names = ["reg.test/team/app:1.0", "docker.io/library/tiny:2"]
    for seed, name in enumerate(names):
        image = make_image(tmp_path / "made", [10, 500_000], seed=seed, index=bool(seed))
        write_layout(image, tmp_path / "layout", name)
    arguments = [
        "--once",
        "--nodes",
        "2",
        "--image",
        str(tmp_path / "layout"),
        "--dir",
        str(tmp_path / "kept"),
        "--basic-auth-file",
        str(tmp_path / "accounts"),
    ]
    (tmp_path / "accounts").write_text("ci:secret\n")
    first = await heliograph("up", *arguments)
    assert (first.code, first.err) == (0, "")
    assert all(f"node-2 pulls {name}" in first.out for name in names)
    assert [source for _, source in sources(first)] == ["peer/node-1"] * 9
    again = await heliograph("up", *arguments)
    assert [source for _, source in sources(again)] == ["local"] * 9
    assert (tmp_path / "kept" / "logs" / "node-1-registry.log").exists()


async def read_command(output: asyncio.StreamReader) -> list[str]:
    """The lines of the shell command that starts the next service which is left out."""
    lines: list[str] = []
    async with asyncio.timeout(30):
        while not lines or lines[-1].endswith("\\\n"):
            line = (await output.readline()).decode()
            assert line, "it ended without a command"
            if lines or line.strip() == "env \\":
                lines.append(line)
    return lines


@asynccontextmanager
async def shell(command: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec("sh", "-c", f"exec {''.join(command).strip()}")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.parametrize("left_out", [["registry@node-2"], ["router", "indexer@node-1"]])
async def test_services_that_are_left_out_are_started_by_the_printed_commands(
    tmp_path: Path, left_out: list[str]
) -> None:
    arguments = ["--once", "--nodes", "2", *(f"--without={name}" for name in left_out)]
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(started("up", *arguments, environment={"TMPDIR": str(tmp_path)}))
        assert up.stdout is not None
        commands = [await read_command(up.stdout) for _ in left_out]
        await eventually(lambda: len(children_of(up.pid)) == 6 - len(left_out), 30)
        by_hand = [await stack.enter_async_context(shell(command)) for command in commands]
        out, err = await asyncio.wait_for(up.communicate(), 90)
        assert (up.returncode, err) == (0, b"")
        rows = sources(Done(0, out.decode(), ""))
        assert len(rows) == 8
        assert {source for _, source in rows} == {"peer/node-1"}
        assert [process.returncode for process in by_hand] == [None] * len(left_out)


@pytest.mark.parametrize("name", ["registry@node-3", "registry", "nats", ""])
async def test_an_unknown_service_is_refused_with_the_flags_name(name: str) -> None:
    done = await heliograph("up", "--nodes", "2", "--without", name)
    assert done.code == 2
    assert "--without" in done.err


async def test_what_it_cannot_use_is_a_line_and_an_exit_code(tmp_path: Path) -> None:
    done = await heliograph("up", "--image", str(tmp_path))
    assert (done.code, done.err) == (1, f"heliograph: {tmp_path}: No such file or directory\n")
    done = await heliograph("up", "--nodes", "1")
    assert done.code == 2
    done = await heliograph(
        "up", "--containerd", "/nowhere", "--containerd-content", "/a", "--containerd-content", "/b"
    )
    assert done.code == 2


@pytest.mark.skipif(bool(machines.absent()), reason=machines.absent() or "-")
async def test_a_real_containerd_becomes_a_node_and_pulls_from_the_others() -> None:
    with tempfile.TemporaryDirectory(prefix="hg-") as directory:
        async with Containerd(machines.versions()[-1], Path(directory) / "ctd") as containerd:
            (containerd.content_path / "blobs").mkdir(parents=True)  # as after a first pull
            arguments = ["--containerd", str(containerd.socket)]
            arguments += ["--containerd-content", str(containerd.content_path)]
            async with cluster(Path(directory), "--nodes", "2", *arguments) as up:
                assert f"apply --mirror-targets {up.address('node-3')}" in up.out
                containerd.mirror("demo.heliograph.local", up.address("node-3"))
                await containerd.cri.pull(REFERENCE)
                found = await heliograph("resolve", REFERENCE, "--router", up.address("router"))
                assert len(found.rows("node-")) == 3
                assert await up.end(signal.SIGINT) == (0, "")
