"""Makes a test fail when it starts a process, so that `make quick` cannot come to run one that does."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STARTS = {"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"}
"""Audit events (https://docs.python.org/3/library/audit_events.html); asyncio starts processes by Popen."""

_forbidden = False


class ProcessStarted(RuntimeError):
    """A test that has not the marker `processes` starts a process."""


@contextmanager
def no_processes() -> Iterator[None]:
    """Until the end of the body, whatever starts a process raises `ProcessStarted` instead."""
    global _forbidden
    _forbidden = True
    try:
        yield
    finally:
        _forbidden = False


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if _forbidden and event in _STARTS:
        raise ProcessStarted(f"{event} {arguments[:2]!r}: this test needs the marker `processes`")


sys.addaudithook(_refuse)  # cannot be removed again
