"""How a process binds, waits, works beside its body, and ends."""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from heliograph_shared.address import Address
from heliograph_shared.runtime import StartupError, background, backoff, bind, ignore_proxies
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.waiting import eventually


def connects(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("http_proxy", "HTTPS_PROXY", "grpc_proxy", "ALL_PROXY", "Http_Proxy")
    for name in names:
        monkeypatch.setenv(name, "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
    ignore_proxies()
    assert not any(name in os.environ for name in names)
    assert os.environ["NO_PROXY"] == "10.0.0.0/8"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "", "::", "0.0.0.0"])
def test_an_occupied_port_is_named(host: str) -> None:
    with bind(Address(host, 0)) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(StartupError, match=f":{port} is in use by another process"):
            bind(Address(host, port))


def test_a_port_that_was_just_left_can_be_taken() -> None:
    port = free_port()
    with bind(Address("127.0.0.1", port)) as bound:
        bound.listen()
        bound.setblocking(True)
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = bound.accept()
            accepted.close()  # first, so that this side keeps the port in TIME_WAIT
    with bind(Address("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("host", ["", "::"])
def test_all_addresses_are_those_of_both_families(host: str) -> None:
    with bind(Address(host, 0)) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        assert connects("127.0.0.1", port)
        assert connects("::1", port)


@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("0.0.0.0", "::1")])
def test_one_address_is_of_one_family(host: str, other: str) -> None:
    with bind(Address(host, 0)) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        assert connects("127.0.0.1" if host == "0.0.0.0" else host, port)
        assert not connects(other, port)


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "2001:db8::1", "no-such-host.invalid", "a" * 70 + ".test", "\u00e4..b"]
)
def test_an_address_of_somebody_else_is_named(host: str) -> None:
    with pytest.raises(StartupError, match="cannot listen on"):
        bind(Address(host, 5000))


def test_waits_double_up_to_a_limit_with_jitter() -> None:
    for n, delay in enumerate(itertools.islice(backoff(0.2, 5.0), 20)):
        whole = min(0.2 * 2**n, 5.0)
        assert whole / 2 <= delay <= whole


async def test_work_beside_the_body_ends_with_it() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with background(work()):
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_work_that_fails_ends_the_body_and_says_why() -> None:
    async def work() -> None:
        raise LookupError("the reason")

    with pytest.raises(ExceptionGroup) as caught:
        async with background(work()):
            await asyncio.Event().wait()
    assert caught.group_contains(LookupError, match="the reason")


PROGRAM = """
import asyncio, logging, sys
from heliograph_shared.runtime import StartupError, background, run

async def nested(stop):
    async def fail():
        raise StartupError("fix this")
    async def deeper():
        async with background(fail()):
            await stop.wait()
    async with background(deeper()):
        await stop.wait()

async def plain(stop):
    raise StartupError("fix this")

async def several(stop):
    await asyncio.sleep(0)
    raise ExceptionGroup("outer", [
        ExceptionGroup("inner", [StartupError("one"), ExceptionGroup("innermost", [StartupError("two")])]),
        StartupError("three"),
    ])

async def mixed(stop):
    raise ExceptionGroup("outer", [ExceptionGroup("inner", [StartupError("one"), ZeroDivisionError()])])

async def waits(stop):
    print("ready", flush=True)
    await stop.wait()
    print("stopped", flush=True)

async def warns(stop):
    logging.getLogger("library").warning("of a library %d", 1)

async def breaks(stop):
    raise ZeroDivisionError

run(globals()[sys.argv[1]], prog="heliograph-test", log_level="info")
"""


@pytest.mark.parametrize("main", ["plain", "nested"])
@pytest.mark.processes
def test_what_hinders_the_start_is_one_readable_line(main: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, main], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert (line["level"], line["service"], line["reason"]) == ("error", "heliograph-test", "fix this")


@pytest.mark.processes
def test_each_reason_of_nested_groups_is_one_readable_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "several"], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    assert [json.loads(line)["reason"] for line in ended.stderr.splitlines()] == ["one", "two", "three"]


@pytest.mark.processes
@pytest.mark.parametrize("main", ["breaks", "mixed"])
def test_a_fault_of_ours_is_not_hidden(main: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, main], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr


@pytest.mark.processes
def test_warnings_of_libraries_are_lines_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "warns"], capture_output=True, text=True, timeout=30, check=False
    )
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert (line["event"], line["level"]) == ("of a library 1", "warning")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.processes
async def test_a_signal_ends_the_process_in_order(number: signal.Signals, tmp_path: Path) -> None:
    process = Process("program", [sys.executable, "-c", PROGRAM, "waits"], tmp_path / "log")
    process.start()
    await eventually(lambda: "ready" in process.tail(), message=process.tail)
    process.send(number)
    assert await process.ended() == 0
    assert process.tail().split() == ["ready", "stopped"]


@pytest.mark.processes
def test_a_failure_is_logged_without_what_its_functions_held() -> None:
    """Passwords among them: whoever reads logs need not know those."""
    program = """
import logging
from heliograph_shared.runtime import configure_logging

def fail(password):
    raise ValueError("no use")

configure_logging("info")
try:
    fail("hunter2")
except ValueError:
    logging.exception("failed")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (line,) = ran.stderr.splitlines()
    assert json.loads(line)["exception"][0]["exc_value"] == "no use"
    assert "hunter2" not in line
