"""The doctors beside real containerds: a healthy node yields nothing, and each broken setup is named."""

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster_support import REFERENCE, SCRIPTS, Cluster, pushed
from tests.e2e.conftest import ContainerdFactory
from tests.support.containerd import Containerd
from tests.support.machines import SERIES, absent
from tests.support.nats import NatsServer
from tests.support.system import Node
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

every_version = pytest.mark.parametrize("series", SERIES)

DISCARDING = {
    "1": '[plugins."io.containerd.grpc.v1.cri".containerd]\n  discard_unpacked_layers = true\n',
    "2": "[plugins.'io.containerd.cri.v1.images']\n  discard_unpacked_layers = true\n",
}
ISOLATED = '[plugins."io.containerd.metadata.v1.bolt"]\n  content_sharing_policy = "isolated"\n'
CRI_DISABLED = "io.containerd.grpc.v1.cri"


@dataclass(frozen=True, slots=True)
class Told:
    """What a doctor printed as JSON, and its exit code."""

    code: int
    report: dict[str, Any]

    @property
    def severities(self) -> dict[str, str]:
        return {finding["check"]: finding["severity"] for finding in self.report["findings"]}

    @property
    def unchecked(self) -> set[str]:
        return {one["check"] for one in self.report["unchecked"]}

    def finding(self, check: str) -> dict[str, str]:
        (found,) = [one for one in self.report["findings"] if one["check"] == check]
        return dict(found)


async def ask(program: str, *arguments: str, **settings: str | Path) -> Told:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / program,
        *("doctor", "--json", *arguments),
        env=inherited | {f"HELIOGRAPH_{name}": str(value) for name, value in settings.items()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode in {0, 1}, err.decode()
    return Told(process.returncode, json.loads(out))


def settings_of(daemon: Containerd, nats: NatsServer, node: Node | None = None) -> dict[str, str | Path]:
    """As the node's operator gives them to its services."""
    settings: dict[str, str | Path] = {
        "CONTAINERD_SOCKET": daemon.socket,
        "CONTAINERD_CONFIG_PATH": daemon.directory / "config.toml",
        "REGISTRY_CONFIG_PATH": daemon.certs_path,
        "MIRRORED_REGISTRIES": "reg.test",
        "NATS_URL": nats.url,
    }
    if node is not None:
        port = node.url.rpartition(":")[2]
        settings |= {
            "NODE_NAME": node.name,
            "ADVERTISE": f"127.0.0.1:{port}",
            "REGISTRY_READY_URL": f"{node.admin}/readyz",
            "MIRROR_TARGETS": node.url,
        }
    return settings


@every_version
async def test_a_healthy_node_yields_nothing_and_a_probe_leaves_nothing(
    series: str, cluster: Cluster, tmp_path: Path, upstream: Upstream
) -> None:
    await pushed(tmp_path, upstream, [50_000, 100])
    node, daemon = await cluster.add("node-1", series)
    router = f"127.0.0.1:{cluster.system.routers[0].port}"
    settings = settings_of(daemon, cluster.system.nats, node)

    told = await ask("heliograph", "--router", router, "--probe", REFERENCE, **settings)

    assert told.report["findings"] == []
    assert told.report["unchecked"] == []
    assert told.code == 0
    assert [request.namespace for request in upstream.requests()], "the probe went by containerd's own way"
    assert await daemon.store.images() == {}
    assert await daemon.cri.images() == []
    await eventually(lambda: daemon.blobs() == set())

    await daemon.cri.pull(REFERENCE)
    before = await daemon.store.images()
    kept = await ask("heliograph", "--router", router, "--probe", REFERENCE, **settings)
    assert (kept.report["findings"], kept.report["unchecked"], kept.code) == ([], [], 0)
    assert (await daemon.store.images()).keys() == before.keys()

    hosts = daemon.certs_path / "reg.test" / "hosts.toml"
    hosts.write_text(f'server = "{upstream.url}"\n[host."{upstream.url}"]\n')
    passed_by = await ask("heliograph-indexer", "--probe", REFERENCE, **settings)
    assert passed_by.severities == {"mirror-not-asked": "error"}
    assert passed_by.code == 1


@every_version
async def test_what_a_containerd_is_told_wrong_is_named(
    series: str, containerd: ContainerdFactory, nats_server: NatsServer, tmp_path: Path, upstream: Upstream
) -> None:
    await pushed(tmp_path, upstream, [50_000, 100])
    node = await containerd(series, extra_config=DISCARDING[series[0]] + ISOLATED)
    node.mirror("reg.test", upstream.url)
    await node.cri.pull(REFERENCE)
    settings = settings_of(node, nats_server) | {"REGISTRY_CONFIG_PATH": "/elsewhere/certs.d"}

    told = await ask("heliograph-indexer", **settings)

    assert told.severities == {
        "config-path": "error",
        "discard-unpacked-layers": "error",
        "content-sharing": "warning",
        "registry-unreachable": "error",
    }
    assert told.code == 1
    assert f"'{node.certs_path}'" in told.finding("config-path")["seen"]
    assert 'config_path = "/elsewhere/certs.d"' in told.finding("config-path")["remedy"]
    section = "cri.v1.images" if series == "2" else "grpc.v1.cri"
    assert section in told.finding("discard-unpacked-layers")["remedy"]

    blind = await ask("heliograph-indexer", **settings | {"CONTAINERD_CONFIG_PATH": "/nowhere"})
    assert blind.severities["discard-unpacked-layers"] == "error"
    assert ("config-path" in blind.unchecked) is (series == "2")
    assert ("pulled last" in blind.finding("discard-unpacked-layers")["seen"]) is (series == "2")


@every_version
async def test_an_unset_config_path_missing_layers_and_a_foreign_folder_are_named(
    series: str, containerd: ContainerdFactory, nats_server: NatsServer, tmp_path: Path, upstream: Upstream
) -> None:
    image = await pushed(tmp_path, upstream, [50_000, 100])
    node = await containerd(series)
    node.mirror("reg.test", upstream.url)
    await node.cri.pull(REFERENCE)
    layer = image.layers[0].digest
    await node.store.delete_content(layer)
    config = node.directory / "config.toml"
    config.write_text(config.read_text().replace(f'config_path = "{node.certs_path}"', 'config_path = ""'))
    await node.restart()
    settings = settings_of(node, nats_server)
    (tmp_path / "elsewhere").mkdir()

    told = await ask("heliograph-indexer", **settings | {"CONTENT_PATH": tmp_path / "elsewhere"})

    assert told.severities == {
        "config-path": "error",
        "layers-missing": "warning",
        "content-path": "error",
        "registry-unreachable": "error",
    }
    assert "is not set" in told.finding("config-path")["problem"]
    assert layer[:19] in told.finding("layers-missing")["seen"]
    assert told.finding("content-path")["problem"] == "the content directory is not that of this containerd"

    remedy = told.finding("layers-missing")["remedy"].split()
    assert remedy[0] == "ctr"
    mended = await asyncio.create_subprocess_exec(
        node.release.ctr,
        *("--address", str(node.socket), *remedy[1:-1], "--hosts-dir", str(node.certs_path), remedy[-1]),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await mended.wait() == 0
    again = await ask("heliograph-indexer", **settings | {"CONTENT_PATH": node.content_path / "nothing"})
    assert again.severities.keys() == {"config-path", "content-path", "registry-unreachable"}
    assert again.finding("content-path")["problem"] == "the content directory cannot be read"


@every_version
async def test_a_containerd_without_cri_or_that_is_gone_is_named(
    series: str, containerd: ContainerdFactory, nats_server: NatsServer
) -> None:
    node = await containerd(series)
    config = node.directory / "config.toml"
    config.write_text(
        config.read_text().replace("disabled_plugins = [", f'disabled_plugins = ["{CRI_DISABLED}", ')
    )
    await node.process.stop()
    node.process.start()
    settings = settings_of(node, nats_server)

    async def answers() -> bool:
        told = await ask("heliograph-indexer", **settings)
        return "containerd-unreachable" not in told.severities

    await eventually(answers, 30)
    told = await ask("heliograph-indexer", **settings)
    assert told.severities == {"cri-unavailable": "error", "registry-unreachable": "error"}

    await node.process.stop()
    gone = await ask("heliograph-indexer", "--probe", REFERENCE, **settings)
    assert gone.severities == {"containerd-unreachable": "error", "registry-unreachable": "error"}
    assert str(node.socket) in gone.finding("containerd-unreachable")["seen"]
