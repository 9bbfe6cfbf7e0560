"""Changes in folders, by inotify through watchfiles, as a hint to look.

Not more than that: folders beyond `MAX_FOLDERS` are not watched, and where inotify fails there are no hints.
Whoever uses this looks from time to time anyway.
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

_GATHER_MS = 200
_STEP_MS = 25
_REVIEW_MS = 1000
_RETRY_S = 30.0


async def follow(folders: Callable[[], Iterable[Path]], on_change: Callable[[], None]) -> None:
    """Call `on_change` after any change directly in one of `folders`, which may come and go."""
    complained = False
    while True:
        try:
            there = _present(folders())
            if there:
                await _follow(there, folders, on_change)
                complained = False
            else:
                await asyncio.sleep(_REVIEW_MS / 1000)
        except (OSError, RuntimeError) as error:
            if not complained:
                log.warning("cannot be told of changes, looking from time to time", reason=str(error))
            complained = True
            await asyncio.sleep(_RETRY_S)


async def _follow(
    there: dict[Path, int], folders: Callable[[], Iterable[Path]], on_change: Callable[[], None]
) -> None:
    """Until the folders are others than `there`. Once they are watched, that alone counts as a change."""
    source = awatch(
        *there,
        recursive=False,
        watch_filter=None,
        debounce=_GATHER_MS,
        step=_STEP_MS,
        rust_timeout=_REVIEW_MS,
        yield_on_timeout=True,
    )
    begun = False
    async with aclosing(source):
        async for changes in source:
            if changes or not begun:
                on_change()
            begun = True
            if _present(folders()) != there:
                return


def _present(folders: Iterable[Path]) -> dict[Path, int]:
    """Those that are there, and which they are: another one of the same name has another number."""
    there = {}
    for folder in islice(folders, MAX_FOLDERS):
        try:
            if folder.is_dir():
                there[folder] = folder.stat().st_ino
        except OSError:
            continue
    return there
