"""Runs the coroutine of a command: prints a failure as one line, and stops in an orderly way on a signal."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator

from heliograph_cli.errors import Failure, ProcessEnded
from heliograph_cli.render import plain
from heliograph_shared import telemetry
from heliograph_shared.runtime import StartupError, configure_logging, ignore_proxies, interruptible

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(command: Coroutine[None, None, None], *, endless: bool = False) -> None:
    """Exits with 1 on a failure, and with 128 + the signal's number on a signal.

    An `endless` command exits with 0 on a signal, for that is how it ends. A second signal interrupts the
    clean-up.
    """
    configure_logging("error")
    ignore_proxies()
    signals: list[int] = []
    try:
        with telemetry.tracing("heliograph-cli"):
            asyncio.run(interruptible(command, _SIGNALS, signals))
    except asyncio.CancelledError:
        sys.exit(0 if endless or not signals else 128 + signals[0])
    except (Failure, StartupError, BrokenPipeError, ExceptionGroup) as error:
        sys.exit(_explained(error))


def _explained(error: Exception) -> int:
    """Print the cause and return the exit code. Raises `error` if it is not a failure of the command."""
    causes = list(_causes(error))
    if any(isinstance(cause, BrokenPipeError) for cause in causes):
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # else Python reports the broken pipe at exit
        return 0
    if not all(isinstance(cause, Failure | StartupError) for cause in causes):
        raise error
    first = next((cause for cause in causes if isinstance(cause, ProcessEnded)), causes[0])
    text = "\n".join(plain(line) for line in str(first).splitlines())
    print(f"heliograph: {text}", file=sys.stderr)  # noqa: T201 - the answer to a person
    return 1


def _causes(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _causes(part)
    else:
        yield error
