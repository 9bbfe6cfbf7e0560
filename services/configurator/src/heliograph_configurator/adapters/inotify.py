"""Hints that something in a folder has changed, from inotify through watchfiles.

They are hints only: folders beyond `MAX_FOLDERS` are not watched, and there are none while inotify fails. The
caller has to check periodically as well.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from itertools import islice
from pathlib import Path

import structlog
from watchfiles import awatch

log = structlog.get_logger()

MAX_FOLDERS = 256

_DEBOUNCE_MS = 200
_STEP_MS = 25
_RECHECK_MS = 1000
_RETRY_S = 30.0


async def follow(folders: Callable[[], Iterable[Path]], on_change: Callable[[], None]) -> None:
    """Call `on_change` after any change directly in one of `folders`, which may come and go."""
    warned = False
    while True:
        try:
            present = _present(folders())
            if present:
                await _follow(present, folders, on_change)
                warned = False
            else:
                await asyncio.sleep(_RECHECK_MS / 1000)
        except (OSError, RuntimeError) as error:
            if not warned:
                log.warning("cannot watch for changes, checking periodically only", reason=str(error))
            warned = True
            await asyncio.sleep(_RETRY_S)


async def _follow(
    present: dict[Path, int], folders: Callable[[], Iterable[Path]], on_change: Callable[[], None]
) -> None:
    """Return once other folders than `present` exist. The start of watching counts as a change."""
    source = awatch(
        *present,
        recursive=False,
        watch_filter=None,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        rust_timeout=_RECHECK_MS,
        yield_on_timeout=True,
    )
    started = False
    async with aclosing(source):
        async for changes in source:
            if changes or not started:
                on_change()
            started = True
            if _present(folders()) != present:
                return


def _present(folders: Iterable[Path]) -> dict[Path, int]:
    """The existing folders with their inode numbers, which tell a folder from its replacement."""
    present = {}
    for folder in islice(folders, MAX_FOLDERS):
        try:
            if folder.is_dir():
                present[folder] = folder.stat().st_ino
        except OSError:
            continue
    return present
