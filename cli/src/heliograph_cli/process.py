"""Starts the processes of a local cluster, watches them and stops them.

A child that exits cancels the body and raises with the tail of its log. When the body is over, every child
gets SIGTERM at once, and SIGKILL after 5 s. If this process is killed, the kernel kills the children. Each
child has a session of its own, so that Ctrl-C reaches this process only.
"""

import asyncio
import math
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from heliograph_cli import die_with_parent
from heliograph_cli.errors import Failure, NotReady, ProcessEnded
from heliograph_cli.layout import usable

_READY_S = 60.0
_POLL_S = 0.05
_GRACE_S = 5.0
_BLAME_S = 0.5
_TAIL_BYTES, _TAIL_LINES = 8_000, 20


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. It is ready once `ready_url` answers 200; `environment` is added to this process's."""

    name: str
    command: Sequence[str]
    ready_url: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def shell_lines(self) -> list[str]:
        """One POSIX shell command, for `env`, that runs it in the foreground; a variable a line."""
        assigned = (shlex.quote(f"{name}={value}") for name, value in self.environment.items())
        return [*(f"{words} \\" for words in ("env", *assigned)), shlex.join(self.command)]


class Child:
    def __init__(self, program: Program, process: asyncio.subprocess.Process, log: Path) -> None:
        self.program, self.log = program, log
        self._process = process

    @classmethod
    async def start(cls, program: Program, logs: Path) -> "Child":
        path = logs / f"{program.name.replace(' ', '-')}.log"
        with usable(path), path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())),
                *program.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **program.environment},
                start_new_session=True,
            )
        return cls(program, process, path)

    async def watch(self) -> None:
        """Wait for its end and raise that as `ProcessEnded`."""
        returncode = await self._process.wait()
        raise ProcessEnded(self.program.name, returncode, self.tail())

    async def ready(self, client: httpx.AsyncClient) -> None:
        """Raises `NotReady` after 60 s."""
        if reason := await _wait_until_ready(client, self.program.ready_url, _READY_S):
            raise NotReady(self.program.name, reason, self.tail())

    async def stop(self) -> None:
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _GRACE_S)
        finally:
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()

    def tail(self) -> str:
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-_TAIL_LINES:])


@asynccontextmanager
async def running(
    programs: Sequence[Program], logs: Path, *, started_by_hand: Sequence[Program] = ()
) -> AsyncIterator[None]:
    """Run the programs while the body runs; it begins when all are ready. Raises `Failure`s, in groups.

    Programs that are `started_by_hand` are only waited for, without a time limit; the time limit of the
    others begins when those are ready.
    """
    children: list[Child] = []
    try:
        for program in programs:
            children.append(await Child.start(program, logs))  # noqa: PERF401 - stopped even if one fails
        async with asyncio.TaskGroup() as group:
            watches = [group.create_task(child.watch()) for child in children]
            try:
                await _all_ready(children, started_by_hand)
                yield
            except Failure:
                await asyncio.sleep(_BLAME_S)  # time for a watch to raise if a child's end is the cause
                raise
            finally:
                for watch in watches:
                    watch.cancel()
    finally:
        await asyncio.gather(*(child.stop() for child in children))


async def _all_ready(children: Sequence[Child], started_by_hand: Sequence[Program]) -> None:
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        for program in started_by_hand:
            await _wait_until_ready(client, program.ready_url, math.inf)
        await asyncio.gather(*(child.ready(client) for child in children))


async def _wait_until_ready(client: httpx.AsyncClient, url: str, timeout_s: float) -> str:
    """Empty when it is ready, else why it was not at the last try."""
    deadline = time.monotonic() + timeout_s
    while reason := await _why_not_ready(client, url):
        if time.monotonic() > deadline:
            return reason
        await asyncio.sleep(_POLL_S)
    return ""


async def _why_not_ready(client: httpx.AsyncClient, url: str) -> str:
    """Empty when it is."""
    try:
        answer = await client.get(url)
    except httpx.TransportError as error:
        return str(error) or type(error).__name__
    return "" if answer.is_success else answer.text.strip() or f"status {answer.status_code}"
