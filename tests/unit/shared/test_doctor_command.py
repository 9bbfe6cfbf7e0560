import asyncio
import logging
import os
import signal
from collections.abc import Iterator

import pytest
import structlog

from heliograph_shared.doctor_command import run
from heliograph_shared.findings import Finding, Report, decode
from heliograph_shared.runtime import StartupError

ERROR = Finding("bus-unreachable", "error", "the bus is not reached", "no answer", "start it")
WARNING = Finding("clock", "warning", "the clock is behind", "90 s", "set it")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """`run` configures logging for its process, which here is the other tests' too."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


async def healthy() -> Report:
    return Report(examined_at_ms=1)


async def unhealthy() -> Report:
    return Report(examined_at_ms=1, findings=(ERROR,))


def test_no_findings_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "text", healthy) == 0
    assert "0 errors" in capsys.readouterr().out


def test_warnings_alone_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    async def warned() -> Report:
        return Report(examined_at_ms=1, findings=(WARNING,))

    assert run("doctor", "text", warned) == 0
    assert WARNING.check in capsys.readouterr().out


def test_an_error_found_exits_with_1_and_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "text", unhealthy) == 1
    printed = capsys.readouterr()
    assert ERROR.check in printed.out
    assert ERROR.remedy in printed.out
    assert printed.err == ""


def test_json_output_is_the_encoded_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "json", unhealthy) == 1
    assert decode(capsys.readouterr().out.encode()) == Report(examined_at_ms=1, findings=(ERROR,))


def test_a_startup_error_exits_with_2_and_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    async def unable() -> Report:
        raise StartupError("no such file: nats.user")

    assert run("heliograph-x doctor", "json", unable) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "heliograph-x doctor: no such file: nats.user\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_examination(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    cleaned_up = False

    async def interrupted() -> Report:
        nonlocal cleaned_up
        os.kill(os.getpid(), number)
        try:
            await asyncio.sleep(60)
        finally:
            cleaned_up = True
        raise AssertionError

    assert run("doctor", "text", interrupted) == 128 + number
    assert cleaned_up
    assert capsys.readouterr().out == ""


def test_a_cancellation_without_a_signal_is_not_hidden() -> None:
    async def cancelled() -> Report:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run("doctor", "text", cancelled)
