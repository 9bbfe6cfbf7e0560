"""Changes below a directory, by inotify through watchfiles; by looking every second where that fails.

The directory may not exist yet, go away, or be replaced by another of its name: then it is found again.
What watchfiles reports is gathered for at most 0.2 s. It registers a watch within its first step, before
it first waits, so that whatever happens after `watch_directory` has been entered is reported.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog
from watchfiles import awatch
from watchfiles.main import FileChange

log = structlog.get_logger()

_GATHER_MS = 200
_STEP_MS = 25
_LOOK_S = 1.0
_APPEAR_S = 0.2


@asynccontextmanager
async def watch_directory(directory: Path) -> AsyncIterator["DirectoryWatch"]:
    watch = DirectoryWatch(directory)
    try:
        await watch.begin()
        yield watch
    finally:
        await watch.end()


class DirectoryWatch:
    """Made by `watch_directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._source: AsyncGenerator[set[FileChange], None] | None = None
        self._next: asyncio.Future[set[FileChange]] | None = None
        self._inode = 0
        self._complained = False

    async def changes(self) -> AsyncIterator[frozenset[Path]]:
        """Paths that came, went or were written to, without end.

        The directory itself: it has come, with anything in it. No path at all: there is no telling.
        """
        while True:
            if self._next is not None:
                if paths := await self._reported():
                    yield paths
            elif await self.begin():
                yield frozenset({self._directory})
            elif self._still_to_come():
                await asyncio.sleep(_APPEAR_S)
            else:
                await asyncio.sleep(_LOOK_S)
                yield frozenset()

    async def begin(self) -> bool:
        """Try to be told of changes. Without success, complain once."""
        source = awatch(
            self._directory,
            watch_filter=None,
            debounce=_GATHER_MS,
            step=_STEP_MS,
            rust_timeout=int(_LOOK_S * 1000),
            yield_on_timeout=True,
        )
        first = asyncio.ensure_future(anext(source))
        await asyncio.sleep(0)
        if first.done() and (error := first.exception()) is not None:
            await source.aclose()
            self._complain(error)
            return False
        self._source, self._next, self._inode = source, first, self._present_inode()
        if self._complained:
            log.info("watching the directory again", path=str(self._directory))
            self._complained = False
        return True

    async def end(self) -> None:
        if self._next is not None and self._source is not None:
            self._next.cancel()
            with suppress(asyncio.CancelledError, OSError, RuntimeError):  # it is of no more interest
                await self._next
            await self._source.aclose()
        self._source = self._next = None

    async def _reported(self) -> frozenset[Path]:
        """Wait for the next report, a second at most; empty where there is none."""
        assert self._next is not None
        assert self._source is not None
        try:
            changes = await self._next
        except (OSError, RuntimeError) as error:
            await self.end()
            self._complain(error)
            return frozenset()
        self._next = asyncio.ensure_future(anext(self._source))
        if self._present_inode() != self._inode:
            await self.end()
        return frozenset(Path(path) for _, path in changes)

    def _still_to_come(self) -> bool:
        """Whether the way to it is there: a store that was never used lacks the last one or two steps."""
        return not self._directory.exists() and any(step.is_dir() for step in self._directory.parents[:2])

    def _present_inode(self) -> int:
        try:
            return self._directory.stat().st_ino
        except OSError:
            return 0

    def _complain(self, error: BaseException) -> None:
        if self._complained or self._still_to_come():
            return
        log.warning(
            "cannot watch the directory, looking every second instead",
            path=str(self._directory),
            reason=str(error) or type(error).__name__,
        )
        self._complained = True
