"""Runs one examination for a `doctor` command: prints its report and chooses the exit code."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from heliograph_shared import findings
from heliograph_shared.findings import Report
from heliograph_shared.runtime import StartupError, configure_logging, ignore_proxies, interruptible

_HEALTHY, _FOUND, _CANNOT_START = 0, 1, 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(
    prog: str, output: Literal["text", "json"], examine: Callable[[], Coroutine[Any, Any, Report]]
) -> int:
    """The exit code: 0 without errors, 1 with errors found, 2 when the command cannot start.

    `examine` may raise `StartupError`, when called or when awaited: it is printed to standard error after
    `prog`. SIGINT and SIGTERM cancel the examination, so that it can clean up; the exit code is then 128
    plus the signal's number, and no report is printed.
    """
    configure_logging("error")
    ignore_proxies()
    signals: list[int] = []
    try:
        report = asyncio.run(interruptible(_started(examine), _SIGNALS, signals))
    except asyncio.CancelledError:
        if not signals:
            raise
        return 128 + signals[0]
    except StartupError as error:
        sys.stderr.write(f"{prog}: {error}\n")
        return _CANNOT_START
    text = findings.encode(report).decode() if output == "json" else findings.as_text(report)
    sys.stdout.write(text)
    return _HEALTHY if report.healthy else _FOUND


async def _started(examine: Callable[[], Coroutine[Any, Any, Report]]) -> Report:
    return await examine()
