"""The `heliograph` command as a person runs it: a process with arguments, output and an exit code."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("heliograph")


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    def rows(self, first: str) -> list[list[str]]:
        """The words of every line of the output that begins with `first`."""
        return [line.split() for line in self.out.splitlines() if line.startswith(first)]


async def heliograph(
    *arguments: str, environment: Mapping[str, str] | None = None, within: float = 90
) -> Done:
    """Run it to its end."""
    async with started(*arguments, environment=environment) as process:
        out, err = await asyncio.wait_for(process.communicate(), within)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def started(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run it beside the body, and kill it if it is still there afterwards."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**inherited, **(environment or {})},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
