import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heliograph_cli import process
from heliograph_cli.errors import Failure, NotReady, ProcessEnded
from heliograph_cli.process import Program, running
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.processes


def server(directory: Path, name: str = "server", before: str = "") -> Program:
    """It answers 200 to all, and leaves its process id in a file."""
    port = free_port()
    code = f"""
import http.server, os, pathlib
{before}
class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
pathlib.Path({str(directory / name)!r}).write_text(str(os.getpid()))
http.server.ThreadingHTTPServer(("127.0.0.1", {port}), Ok).serve_forever()
"""
    return Program(name, (sys.executable, "-c", code), f"http://127.0.0.1:{port}/readyz")


def alive(path: Path) -> bool:
    return Path(f"/proc/{path.read_text()}").exists()


def causes(group: BaseException) -> Iterator[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        for one in group.exceptions:
            yield from causes(one)
    else:
        yield group


async def test_programs_run_while_the_body_does(tmp_path: Path) -> None:
    async with running([server(tmp_path, "one"), server(tmp_path, "two")], tmp_path):
        assert alive(tmp_path / "one")
        assert alive(tmp_path / "two")
    assert not alive(tmp_path / "one")
    assert not alive(tmp_path / "two")


async def test_a_program_that_ends_ends_the_body_with_its_last_words(tmp_path: Path) -> None:
    dying = server(tmp_path, "dying", "print('out of luck'); raise SystemExit(3)")
    with pytest.raises(ExceptionGroup) as failed:
        async with running([server(tmp_path), dying], tmp_path):
            await asyncio.sleep(30)
    (cause,) = causes(failed.value)
    assert isinstance(cause, ProcessEnded)
    assert (cause.name, cause.returncode, cause.tail) == ("dying", 3, "out of luck")
    assert str(cause).endswith("\nout of luck")
    assert not (tmp_path / "server").exists() or not alive(tmp_path / "server")


async def test_a_failure_that_a_programs_end_explains_comes_with_that_end(tmp_path: Path) -> None:
    async def use() -> None:
        async with running([server(tmp_path)], tmp_path):
            os.kill(int((tmp_path / "server").read_text()), 9)
            raise Failure("the connection broke")

    with pytest.raises(ExceptionGroup) as failed:
        await use()
    assert any(isinstance(cause, ProcessEnded) and cause.returncode == -9 for cause in causes(failed.value))


async def test_one_that_ignores_the_request_to_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_GRACE_S", 0.2)
    stubborn = server(tmp_path, before="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    async with running([stubborn], tmp_path):
        pass
    assert not alive(tmp_path / "server")


async def test_a_program_started_by_hand_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_READY_S", 5)
    by_hand = server(tmp_path, "by-hand")
    began: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def use() -> None:
        async with running([server(tmp_path)], tmp_path, started_by_hand=[by_hand]):
            began.set_result(None)

    task = asyncio.create_task(use())
    await eventually(lambda: (tmp_path / "server").exists(), 20)
    assert not began.done()
    started = await asyncio.create_subprocess_exec(*by_hand.command)
    try:
        await asyncio.wait_for(began, 20)
        await task
        assert started.returncode is None
    finally:
        started.kill()
        await started.wait()


def test_the_command_for_a_shell_has_the_same_arguments_and_environment() -> None:
    code = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['A'], os.environ['B']]))"
    program = Program(
        "odd", (sys.executable, "-c", code, "it's", "$HOME"), "", {"A": 'two "words" \\ $A', "B": ""}
    )
    ran = subprocess.run(["sh", "-c", "\n  ".join(program.shell_lines())], capture_output=True, check=True)
    assert json.loads(ran.stdout) == [["it's", "$HOME"], 'two "words" \\ $A', ""]


async def test_one_that_never_gets_ready_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_READY_S", 0.2)
    deaf = Program("deaf", ("/bin/sleep", "60"), f"http://127.0.0.1:{free_port()}/readyz")
    with pytest.raises(ExceptionGroup) as failed:
        async with running([deaf], tmp_path):
            pass
    (cause,) = causes(failed.value)
    assert isinstance(cause, NotReady)
    assert cause.name == "deaf"
    assert cause.reason


async def test_a_program_that_does_not_exist_is_a_readable_failure(tmp_path: Path) -> None:
    missing = Program("missing", ("/nowhere/program",), "http://127.0.0.1:1/")
    with pytest.raises(ExceptionGroup) as failed:
        async with running([missing], tmp_path):
            pass
    (cause,) = causes(failed.value)
    assert isinstance(cause, ProcessEnded)
    assert "/nowhere/program" in str(cause)


async def test_the_kernel_ends_the_programs_of_a_killed_parent(tmp_path: Path) -> None:
    program = server(tmp_path)
    code = f"""
import asyncio, pathlib
from heliograph_cli.process import Program, running
program = Program("server", {program.command!r}, {program.ready_url!r})
async def main():
    async with running([program], pathlib.Path({str(tmp_path)!r})):
        await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    await eventually(lambda: (tmp_path / "server").exists() and (tmp_path / "server").read_text(), 20)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not alive(tmp_path / "server"), 20)
