"""The indexer's doctor with a real bus and real ports, and where a running indexer shows its findings."""

import asyncio
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heliograph_indexer.adapters.nats_probe import NatsProbe
from heliograph_indexer.adapters.registry_http import RegistryHttp
from heliograph_indexer.app import examination
from heliograph_indexer.domain.environment_checks import examine_bus, examine_clock
from heliograph_indexer.settings import Settings
from heliograph_shared.findings import decode
from heliograph_shared.settings import load
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tests.unit.indexer.program import SCRIPT, Program


async def test_a_bus_that_answers_reports_its_time(nats_server: NatsServer) -> None:
    answer = await NatsProbe([nats_server.url]).ask()
    assert answer.reason == ""
    assert answer.local
    assert answer.ahead_s is not None
    assert abs(answer.ahead_s) < 30


async def test_a_clock_that_is_ahead_of_the_bus_is_an_error(nats_server: NatsServer) -> None:
    answer = await NatsProbe([nats_server.url], now=lambda: time.time() + 400).ask()
    (finding,) = examine_clock(datetime.now(UTC), answer.ahead_s)
    assert (finding.check, finding.severity) == ("clock", "error")
    assert "s ahead of" in finding.seen


async def test_a_bus_that_is_gone_is_named_without_its_password() -> None:
    probe = NatsProbe([f"nats://user:s3cret@127.0.0.1:{free_port()}"])
    answer = await probe.ask()
    (finding,) = examine_bus(probe.shown, answer)
    assert (finding.check, finding.severity) == ("bus-unreachable", "error")
    assert "Connect call failed" in finding.seen or "refused" in finding.seen
    assert "s3cret" not in finding.seen


async def test_a_bus_that_refuses_the_credentials_says_so(tmp_path: Path) -> None:
    async with NatsServer(tmp_path, arguments=["--user", "a", "--pass", "b"]) as server:
        answer = await NatsProbe([server.url]).ask()
        assert "authorization" in answer.reason.lower()
        async with NatsServer(tmp_path) as other:
            second = await NatsProbe([server.url, other.url]).ask()
            assert (second.reason, second.local) == ("", True)


async def test_a_bus_that_hangs_times_out(nats_server: NatsServer) -> None:
    nats_server.pause()
    try:
        began = time.monotonic()
        assert (await NatsProbe([nats_server.url]).ask()).reason
        assert time.monotonic() - began < 20
    finally:
        nats_server.resume()


async def test_a_registry_that_is_not_there_is_reported() -> None:
    port = free_port()
    registry = RegistryHttp(f"http://127.0.0.1:{port}/readyz")
    assert "refused" in await registry.unready_reason()
    assert await registry.unreachable_reason(f"127.0.0.1:{port}") == "Connection refused"
    assert await registry.unreachable_reason(f"no-such-host.invalid:{port}")
    assert await registry.requests() is None
    assert await RegistryHttp("").requests() is None


async def test_unusable_addresses_are_reported(tmp_path: Path, nats_server: NatsServer) -> None:
    flags = ["--content-store", "oci-layout", "--content-path", str(tmp_path / "absent")]
    flags += ["--nats-url", nats_server.url, "--advertise", "169.254.0.9:5000"]
    report = await examination(load(Settings, "heliograph-indexer", flags)).report()
    severities = {finding.check: finding.severity for finding in report.findings}
    assert severities == {"address": "error", "content-path": "error"}
    assert {one.check for one in report.unchecked} == {"registry-not-ready", "node-name-shared"}


async def test_without_a_route_to_the_bus_the_address_is_unchecked(tmp_path: Path) -> None:
    flags = ["--content-store", "oci-layout", "--content-path", str(tmp_path)]
    report = await examination(load(Settings, "heliograph-indexer", flags), ask_bus=False).report()
    assert report.findings == ()
    unchecked = {"bus-unreachable", "address", "registry-not-ready", "node-name-shared"}
    assert {one.check for one in report.unchecked} == unchecked


async def test_a_running_indexer_logs_counts_and_serves_what_it_finds(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    program = Program(
        tmp_path,
        nats_server.url,
        CONTENT_STORE="oci-layout",
        CONTENT_PATH=str(tmp_path),
        ADVERTISE=f"127.0.0.1:{free_port()}",
    )
    async with program.process:
        await eventually(lambda: b"registry-unreachable" in findings_of(program), 30)
        report = decode(findings_of(program))
        assert [finding.check for finding in report.findings] == ["registry-unreachable"]
        sample = 'heliograph_doctor_findings{check="registry-unreachable",severity="error"}'
        assert program.metric(sample) == 1
        assert program.metric(sample.replace("registry-unreachable", "clock")) == 0
    (line,) = [line for line in program.lines() if "check" in line]
    assert (line["level"], line["check"]) == ("error", "registry-unreachable")
    assert "HELIOGRAPH_ADVERTISE" in line["remedy"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_a_doctor_that_waits(number: signal.Signals) -> None:
    asked = asyncio.Event()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(stay_silent, "127.0.0.1", free_port()) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            SCRIPT, "doctor", "--nats-url", f"nats://127.0.0.1:{port}", stdout=asyncio.subprocess.PIPE
        )
        await asyncio.wait_for(asked.wait(), 60)
        process.send_signal(number)
        out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (128 + number, b"")


def findings_of(program: Program) -> bytes:
    return program.get("/debug/findings")[1].encode()
