"""Reloads files that are replaced while the service runs: certificates, keys, passwords.

A Kubernetes Secret replaces all its files at once; other tools write one file after the other. Content that
cannot be used is logged and counted, the previous content stays in use, and the next change is read.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from heliograph_shared.runtime import StartupError

log = structlog.get_logger()

T = TypeVar("T")

_CHECK_INTERVAL_S = 1.0

_Version = tuple[int, int, int, int]

reloads: Counter[tuple[str, str]] = Counter()
"""Number of reloads in this process, by (what, "ok" or "failed"); `admin` exports it."""


class Reloading(Generic[T]):
    """Checks the files on access, at most once a second. Thread-safe."""

    def __init__(self, what: str, paths: Sequence[Path], load: Callable[[], T]) -> None:
        """`load` reads `paths`, and raises `OSError` or `ValueError` when their content is unusable.

        `what` is a label in logs and metrics. Raises `StartupError` when the first `load` fails.
        """
        self._what, self._paths, self._load = what, paths, load
        self._lock = threading.Lock()
        self._version, self._checked_at = self._versions(), time.monotonic()
        try:
            self._current = load()
        except (OSError, ValueError) as error:
            raise StartupError(f"{what} cannot be used: {_reason(error, paths)}") from error

    def current(self) -> T:
        """The latest usable content."""
        if time.monotonic() - self._checked_at >= _CHECK_INTERVAL_S:
            with self._lock:
                self._check()
        return self._current

    def _check(self) -> None:
        self._checked_at = time.monotonic()
        version = self._versions()
        if version == self._version:
            return
        self._version = version
        try:
            self._current = self._load()
        except (OSError, ValueError) as error:
            reloads[self._what, "failed"] += 1
            log.warning(
                "changed file is unusable, keeping the previous content",
                what=self._what,
                reason=_reason(error, self._paths),
            )
        else:
            reloads[self._what, "ok"] += 1
            log.info("reloaded", what=self._what, files=[str(path) for path in self._paths])

    def _versions(self) -> tuple[_Version | None, ...]:
        return tuple(_version_of(path) for path in self._paths)


def _version_of(path: Path) -> _Version | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)


def _reason(error: Exception, paths: Sequence[Path]) -> str:
    """The reason, without the content of a file; `error` must not contain it."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return f"{', '.join(map(str, paths))}: {error}"
