"""The processes of a local cluster: started together, watched, and never left behind.

A child that ends by itself ends the body, with the tail of its log. At the end all get a SIGTERM at once and
a SIGKILL if they stay; should this process be killed, the kernel kills them. They run in sessions of their
own, so Ctrl-C reaches this process alone, which then stops them in order.
"""

import asyncio
import os
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
    """What to run. It is ready once `ready_url` answers 200; `environment` is added to the own one."""

    name: str
    command: Sequence[str]
    ready_url: str
    environment: Mapping[str, str] = field(default_factory=dict)


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
        """Raises `ProcessEnded` once it has ended."""
        returncode = await self._process.wait()
        raise ProcessEnded(self.program.name, returncode, self.tail())

    async def ready(self, client: httpx.AsyncClient) -> None:
        """Raises `NotReady` when it still is not after 60 s."""
        deadline = time.monotonic() + _READY_S
        while reason := await _why_not_ready(client, self.program.ready_url):
            if time.monotonic() > deadline:
                raise NotReady(self.program.name, reason, self.tail())
            await asyncio.sleep(_POLL_S)

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
async def running(programs: Sequence[Program], logs: Path) -> AsyncIterator[None]:
    """Run the programs while the body runs; it begins when all are ready. Raises `Failure`s, in groups."""
    children: list[Child] = []
    try:
        for program in programs:
            children.append(await Child.start(program, logs))  # noqa: PERF401 - stopped even if one fails
        async with asyncio.TaskGroup() as group:
            watches = [group.create_task(child.watch()) for child in children]
            try:
                await _all_ready(children)
                yield
            except Failure:
                await asyncio.sleep(_BLAME_S)  # if a child's end is the cause, its watch says so meanwhile
                raise
            finally:
                for watch in watches:
                    watch.cancel()
    finally:
        await asyncio.gather(*(child.stop() for child in children))


async def _all_ready(children: Sequence[Child]) -> None:
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        await asyncio.gather(*(child.ready(client) for child in children))


async def _why_not_ready(client: httpx.AsyncClient, url: str) -> str:
    """Empty when it is."""
    try:
        answer = await client.get(url)
    except httpx.TransportError as error:
        return str(error) or type(error).__name__
    return "" if answer.is_success else answer.text.strip() or f"status {answer.status_code}"
