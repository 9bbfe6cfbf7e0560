"""The examination reports what is broken and what it could not check, and does not wait for what hangs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heliograph_indexer import node_examination
from heliograph_indexer.domain.environment_checks import BusStatus
from heliograph_indexer.domain.missing_layers import REFERENCE_PREFIX, ImageRecord
from heliograph_indexer.domain.namesakes import Namesake
from heliograph_indexer.domain.proxies import ProxySettings
from heliograph_indexer.domain.runtime_settings import ContainerdVersion, RuntimeSettings
from heliograph_indexer.errors import CallRefused, ConfigUnreadable, EnvironmentUnreadable
from heliograph_indexer.node_examination import NodeExamination
from heliograph_shared.findings import Report
from tests.unit.indexer.examined_node import (
    CERTS_D,
    MemoryAddress,
    MemoryBus,
    MemoryContainerd,
    MemoryIndexer,
    MemoryRegistry,
    whole_directory,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
UNIMPLEMENTED = CallRefused("RuntimeService/Status", "UNIMPLEMENTED", "unknown service")


class ExaminedNode:
    """Healthy until a test breaks it."""

    def __init__(self) -> None:
        self.containerd, self.bus, self.registry = MemoryContainerd(), MemoryBus(), MemoryRegistry()
        self.address, self.indexer = MemoryAddress(), MemoryIndexer()
        self.environment: dict[str, str] = {}

    async def report(self, **changes: Any) -> Report:
        parts: dict[str, Any] = {
            "open_runtime": self.containerd.open,
            "namespace": "k8s.io",
            "config_path": CERTS_D,
            "settings_file": unreadable_file,
            "content_path": None,
            "content_directory": whole_directory,
            "bus": self.bus,
            "node_address": self.address,
            "advertise": (),
            "registry": self.registry,
            "proxies": self.proxies,
            "node_name": "node-1",
            "indexer": self.indexer,
            "now": lambda: NOW,
        }
        return await NodeExamination(**(parts | changes)).report()

    async def proxies(self) -> ProxySettings:
        return ProxySettings.of(self.environment)

    async def findings(self, **changes: Any) -> dict[str, str]:
        return {str(one.check): one.severity for one in (await self.report(**changes)).findings}

    async def unchecked(self, **changes: Any) -> set[str]:
        return {str(one.check) for one in (await self.report(**changes)).unchecked}


def unreadable_file(_: ContainerdVersion) -> RuntimeSettings:
    raise ConfigUnreadable(Path("/etc/containerd/config.toml"), "No such file or directory")


@pytest.fixture
def node() -> ExaminedNode:
    return ExaminedNode()


async def test_a_healthy_node_has_an_empty_report(node: ExaminedNode) -> None:
    assert await node.report() == Report(examined_at_ms=int(NOW.timestamp() * 1000))


async def test_a_containerd_that_is_gone_hides_nothing_else(node: ExaminedNode) -> None:
    node.containerd.available = False
    node.registry.unready = "status 503"
    assert await node.findings() == {"containerd-unreachable": "error", "registry-not-ready": "error"}


async def test_a_containerd_that_hangs_is_unchecked_and_the_rest_is_reported(
    node: ExaminedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_examination, "_STEP_TIMEOUT_S", 0.05)
    node.containerd.hanging = True
    node.bus.status = BusStatus("connection refused")
    assert await node.findings() == {"bus-unreachable": "error"}
    assert await node.unchecked() == {"containerd-unreachable"}


async def test_a_missing_cri_is_an_error_in_the_kubelets_namespace_only(node: ExaminedNode) -> None:
    node.containerd.status_error = UNIMPLEMENTED
    assert await node.findings() == {"cri-unavailable": "error"}
    assert await node.findings(namespace="moby") == {}
    assert await node.unchecked(namespace="moby") == {"config-path"}


async def test_settings_that_are_not_reported_are_read_from_the_file(node: ExaminedNode) -> None:
    node.containerd.settings = None
    assert await node.unchecked() == {"config-path"}
    other = RuntimeSettings("config.toml", "/other", discards_layers=False)
    assert await node.findings(settings_file=lambda _: other) == {"config-path": "error"}


async def test_an_image_that_lacks_a_layer_is_a_warning(node: ExaminedNode) -> None:
    node.containerd.records = [ImageRecord("reg.test/app:v1", "sha256:m", 1)]
    labels = {f"{REFERENCE_PREFIX}config": "sha256:c", f"{REFERENCE_PREFIX}l.0": "sha256:gone"}
    node.containerd.labels = {"sha256:m": labels, "sha256:c": {}}
    assert await node.findings() == {"layers-missing": "warning"}


async def test_a_tag_from_the_future_is_a_warning(node: ExaminedNode) -> None:
    later_ms = int((NOW + timedelta(hours=1)).timestamp() * 1000)
    node.containerd.records = [ImageRecord("reg.test/app:v1", "sha256:m", later_ms)]
    assert await node.findings() == {"clock": "warning"}


async def test_the_operators_address_comes_before_the_nodes_own(node: ExaminedNode) -> None:
    node.address.host = "169.254.0.1"
    assert await node.findings() == {"address": "error"}
    assert await node.findings(advertise=("10.0.0.1:5000",)) == {}


async def test_a_registry_that_cannot_be_reached_is_an_error(node: ExaminedNode) -> None:
    node.registry.unreachable = "Connection refused"
    (finding,) = (await node.report()).findings
    assert finding.check == "registry-unreachable"
    assert "10.0.0.7:5000" in finding.seen


async def test_what_is_not_configured_is_unchecked(node: ExaminedNode) -> None:
    node.registry.ready_url = ""
    unchecked = {"bus-unreachable", "address", "registry-not-ready"}
    assert await node.unchecked(bus=None) == unchecked
    assert await node.findings(bus=None) == {}


async def test_a_store_without_containerd_is_examined_by_its_directory(node: ExaminedNode) -> None:
    node.containerd.available = False
    assert await node.findings(open_runtime=None, content_path=Path("/layout")) == {}


async def test_both_indexers_of_a_shared_node_name_are_described(node: ExaminedNode) -> None:
    assert await node.findings() == {}
    node.indexer.other = Namesake(1_780_000_000 * 10**9, ("10.0.0.2:5000",))
    (finding,) = (await node.report()).findings
    assert (finding.check, finding.severity) == ("node-name-shared", "error")
    for detail in ("node-1", "10.0.0.2:5000", "2026-05-28 20:26:40", "2026-01-08"):
        assert detail in finding.seen


async def test_the_doctor_command_cannot_know_of_a_shared_node_name(node: ExaminedNode) -> None:
    assert await node.unchecked(indexer=None) == {"node-name-shared"}


async def test_a_proxy_of_containerd_that_captures_the_mirror_is_named(node: ExaminedNode) -> None:
    node.environment = {"HTTP_PROXY": "http://user:secret@proxy.test:3128", "NO_PROXY": "10.96.0.0/12"}
    (finding,) = (await node.report(advertise=("192.0.2.7:5000",))).findings
    assert (finding.check, finding.severity) == ("containerd-proxy", "warning")
    for detail in ("HTTP_PROXY", "10.96.0.0/12", "192.0.2.7:5000"):
        assert detail in finding.seen
    assert "secret" not in str(finding)
    node.environment["NO_PROXY"] += ",192.0.2.0/24"
    assert await node.findings(advertise=("192.0.2.7:5000",)) == {}


async def test_an_environment_that_is_not_visible_is_unchecked(node: ExaminedNode) -> None:
    async def hidden() -> ProxySettings:
        raise EnvironmentUnreadable("not visible")

    assert await node.unchecked(proxies=hidden) == {"containerd-proxy"}
