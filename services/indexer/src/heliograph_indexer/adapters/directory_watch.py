"""Watches a directory tree with inotify (watchfiles); where that fails, it asks for a listing each second.

The directory may be created later, removed, or replaced by another of the same name; the watch recovers.
Changes are batched for at most 0.2 s. watchfiles registers its watch in its first step, before it first
waits, so every change after `watch_directory` is entered is reported.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog
from watchfiles import awatch
from watchfiles.main import FileChange

log = structlog.get_logger()

_BATCH_MS = 200
_STEP_MS = 25
_POLL_S = 1.0
_ABSENT_POLL_S = 0.2


@asynccontextmanager
async def watch_directory(directory: Path) -> AsyncIterator["DirectoryWatch"]:
    watch = DirectoryWatch(directory)
    try:
        await watch.begin()
        yield watch
    finally:
        await watch.end()


class DirectoryWatch:
    """Create it with `watch_directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._source: AsyncGenerator[set[FileChange], None] | None = None
        self._next: asyncio.Future[set[FileChange]] | None = None
        self._inode = 0
        self._failure_logged = False

    async def changes(self) -> AsyncIterator[frozenset[Path]]:
        """Paths that were created, removed or written to; endless.

        The directory itself means that it was just created, with any content. An empty set comes every second
        while the directory cannot be watched: anything may have changed.
        """
        while True:
            if self._next is not None:
                if paths := await self._reported():
                    yield paths
            elif await self.begin():
                yield frozenset({self._directory})
            elif self._may_be_created():
                await asyncio.sleep(_ABSENT_POLL_S)
            else:
                await asyncio.sleep(_POLL_S)
                yield frozenset()

    async def begin(self) -> bool:
        """Try to start watching; False, and one log line, if that fails."""
        source = awatch(
            self._directory,
            watch_filter=None,
            debounce=_BATCH_MS,
            step=_STEP_MS,
            rust_timeout=int(_POLL_S * 1000),
            yield_on_timeout=True,
        )
        first = asyncio.ensure_future(anext(source))
        await asyncio.sleep(0)
        if first.done() and (error := first.exception()) is not None:
            await source.aclose()
            self._log_failure(error)
            return False
        self._source, self._next, self._inode = source, first, self._present_inode()
        if self._failure_logged:
            log.info("watching the directory again", path=str(self._directory))
            self._failure_logged = False
        return True

    async def end(self) -> None:
        if self._next is not None and self._source is not None:
            self._next.cancel()
            with suppress(asyncio.CancelledError, OSError, RuntimeError):  # no longer needed
                await self._next
            await self._source.aclose()
        self._source = self._next = None

    async def _reported(self) -> frozenset[Path]:
        """Wait for the next changed paths, a second at most; empty if there are none."""
        assert self._next is not None
        assert self._source is not None
        try:
            changes = await self._next
        except (OSError, RuntimeError) as error:
            await self.end()
            self._log_failure(error)
            return frozenset()
        self._next = asyncio.ensure_future(anext(self._source))
        if self._present_inode() != self._inode:
            await self.end()
        return frozenset(Path(path) for _, path in changes)

    def _may_be_created(self) -> bool:
        """Whether a parent exists: a store that was never used lacks the last one or two directories."""
        return not self._directory.exists() and any(parent.is_dir() for parent in self._directory.parents[:2])

    def _present_inode(self) -> int:
        try:
            return self._directory.stat().st_ino
        except OSError:
            return 0

    def _log_failure(self, error: BaseException) -> None:
        if self._failure_logged or self._may_be_created():
            return
        log.warning(
            "cannot watch the directory, listing it every second instead",
            path=str(self._directory),
            reason=str(error) or type(error).__name__,
        )
        self._failure_logged = True
