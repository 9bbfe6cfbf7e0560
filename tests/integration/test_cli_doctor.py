"""`heliograph doctor` on a machine: both doctors in one report, and what a real router says of the node."""

import asyncio
import json
from pathlib import Path

from heliograph_cli.doctor import examine_router
from heliograph_configurator.domain.checks import ConfiguratorCheck
from heliograph_indexer.domain.checks import IndexerCheck
from heliograph_shared.findings import Report
from tests.integration.cli_support import heliograph
from tests.integration.router_support import living_node, serving_router
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.waiting import eventually


def severities(report: Report) -> dict[str, str]:
    return {str(finding.check): finding.severity for finding in report.findings}


async def test_what_a_router_knows_of_the_node_is_told(nats_server: NatsServer) -> None:
    async with (
        living_node(nats_server.url, "whole", addresses=["10.0.0.1:5000"]),
        living_node(nats_server.url, "mute", addresses=[]),
        living_node(nats_server.url, "twin-1", addresses=["10.0.0.2:5000"]),
        living_node(nats_server.url, "twin-2", addresses=["10.0.0.2:5000", "10.0.0.3:5000"]),
        serving_router(nats_server.url) as router,
    ):
        target = f"127.0.0.1:{router.port}"

        async def told(node: str) -> dict[str, str]:
            return severities(await examine_router(target, node))

        await router.ready()

        async def is_whole() -> bool:
            return await told("whole") == {}

        await eventually(is_whole, 30)
        assert await told("mute") == {"node-without-address": "error"}
        assert await told("twin-1") == {"address-shared": "error"}
        assert await told("absent") == {"node-not-listed": "error"}
        (shared,) = (await examine_router(target, "twin-2")).findings
        assert all(word in shared.seen for word in ("twin-1", "twin-2", "10.0.0.2:5000"))
        assert "10.0.0.3:5000" not in shared.seen
    assert await told("whole") == {"router-unreachable": "error"}


async def test_a_router_without_a_bus_is_not_ready() -> None:
    async with serving_router(f"nats://127.0.0.1:{free_port()}") as router:
        report = await examine_router(f"127.0.0.1:{router.port}", "any")
        assert severities(report) == {"router-not-ready": "warning"}


async def test_both_doctors_and_the_router_are_in_one_report(tmp_path: Path) -> None:
    closed = free_port()
    machine = {
        "HELIOGRAPH_MIRROR_TARGETS": f"http://127.0.0.1:{closed}",
        "HELIOGRAPH_REGISTRY_CONFIG_PATH": str(tmp_path),
    }
    flags = ["--router", f"127.0.0.1:{closed}", "--containerd", str(tmp_path / "no.sock")]
    told = await heliograph("doctor", "--json", *flags, environment=machine)
    assert told.code == 1
    report = json.loads(told.out)
    assert [finding["check"] for finding in report["findings"]] == [
        IndexerCheck.CONTAINERD,
        ConfiguratorCheck.REACHED,
        ConfiguratorCheck.MIRRORED,
        "router-unreachable",
    ]
    assert {one["check"] for one in report["unchecked"]} == {
        "bus-unreachable",
        "address",
        "registry-not-ready",
        "node-name-shared",
        "containerd-proxy",
    }

    read = await heliograph("doctor", *flags[2:], environment=machine)
    assert read.code == 1
    assert len(read.rows("error")) == 3
    assert read.out.rstrip().endswith("3 errors, 0 warnings")
    assert "not checked: router-unreachable: " in read.out


async def test_what_a_service_refuses_is_a_usage_error() -> None:
    refused = await heliograph("doctor", "--nats", "nats://", "--probe", "no image")
    assert (refused.code, refused.out) == (2, "")
    assert "HELIOGRAPH_NATS_URL" in refused.err
    assert "HELIOGRAPH_PROBE" in refused.err
    assert "Traceback" not in refused.err


async def test_a_bus_that_asks_for_a_password_is_shown_the_file(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("indexer:secret\n")
    wrong.write_text("indexer:else\n")
    async with NatsServer(tmp_path, arguments=["--user", "indexer", "--pass", "secret"]) as server:
        for file, is_let_in in ((right, True), (wrong, False)):
            flags = ["--nats", server.url, "--nats-user-file", str(file)]
            told = await heliograph("doctor", "--json", *flags)
            found = {finding["check"] for finding in json.loads(told.out)["findings"]}
            assert (IndexerCheck.BUS not in found) is is_let_in
            assert "secret" not in told.out + told.err


async def test_a_certificate_that_cannot_be_used_ends_it_at_once(tmp_path: Path) -> None:
    flags = ["--router", "127.0.0.1:1", "--tls-ca-file", str(tmp_path / "none")]
    told = await asyncio.wait_for(heliograph("doctor", *flags), 30)
    assert (told.code, told.out) == (1, "")
    assert f"{tmp_path / 'none'}: No such file or directory" in told.err
