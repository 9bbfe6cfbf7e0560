"""The doctors beside real containerds: a healthy node yields nothing, and each broken setup is named."""

import asyncio
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from heliograph_cli.doctor import examine_router
from heliograph_configurator.app import apply
from heliograph_configurator.app import examination as certs_examination
from heliograph_configurator.settings import Settings as CertsSettings
from heliograph_indexer import app
from heliograph_indexer.adapters.registry_http import RegistryHttp
from heliograph_indexer.domain.checks import IndexerCheck
from heliograph_indexer.settings import Settings
from heliograph_shared.findings import Finding, Report, Unchecked, decode
from heliograph_shared.reference import parse_reference
from heliograph_shared.settings import ServiceSettings, load
from tests.e2e.cluster_support import MIB, REFERENCE, Cluster, pushed
from tests.e2e.conftest import ContainerdFactory
from tests.integration.cli_support import heliograph
from tests.integration.registry_support import serve_registry
from tests.support.authority import Authority
from tests.support.containerd import Containerd
from tests.support.images import push
from tests.support.machines import SERIES, absent
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.system import SCRIPTS, Node
from tests.support.uplink import Uplink
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

every_version = pytest.mark.parametrize("series", SERIES)

DISCARDING = {
    "1": '[plugins."io.containerd.grpc.v1.cri".containerd]\n  discard_unpacked_layers = true\n',
    "2": "[plugins.'io.containerd.cri.v1.images']\n  discard_unpacked_layers = true\n",
}
ISOLATED = '[plugins."io.containerd.metadata.v1.bolt"]\n  content_sharing_policy = "isolated"\n'
CRI_PLUGIN = "io.containerd.grpc.v1.cri"


S = TypeVar("S", bound=ServiceSettings)


def severities(report: Report) -> dict[str, str]:
    return {str(finding.check): finding.severity for finding in report.findings}


def finding(report: Report, check: str) -> Finding:
    (found,) = [one for one in report.findings if one.check == check]
    return found


def settings_of(daemon: Containerd, nats: NatsServer, node: Node | None = None) -> dict[str, str | Path]:
    """As the node's operator gives them to its services."""
    settings: dict[str, str | Path] = {
        "CONTAINERD_SOCKET": daemon.socket,
        "ADVERTISE": f"127.0.0.1:{nats.port}",  # something that listens, where there is no registry
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


def loaded(model: type[S], settings: Mapping[str, str | Path]) -> S:
    known = {name.lower(): value for name, value in settings.items() if name.lower() in model.model_fields}
    return load(model, "test", [f"--{name.replace('_', '-')}={value}" for name, value in known.items()])


async def examined(settings: Mapping[str, str | Path]) -> Report:
    """By the indexer's doctor, in this process."""
    return await app.examination(loaded(Settings, settings)).report()


async def probed(settings: Mapping[str, str | Path], reference: str = REFERENCE) -> list[Finding | Unchecked]:
    return list(await app.probe_pull(loaded(Settings, settings), parse_reference(reference)))


@every_version
async def test_a_healthy_node_yields_nothing_and_a_probe_leaves_nothing(
    series: str, cluster: Cluster, tmp_path: Path, upstream: Upstream
) -> None:
    image = await pushed(tmp_path, upstream, [50_000, 100])
    await push(image, upstream.url, "team/app", "again")
    node, daemon = await cluster.add("node-1", series)
    settings = settings_of(daemon, cluster.system.nats, node)
    router = f"127.0.0.1:{cluster.system.routers[0].port}"

    async def is_known_to_router() -> bool:
        return (await examine_router(router, node.name)).healthy

    await eventually(is_known_to_router)
    result = await heliograph(
        *("doctor", "--json", "--router", router, "--probe", REFERENCE),
        environment={f"HELIOGRAPH_{name}": str(value) for name, value in settings.items()},
    )

    report = decode(result.out.encode())
    assert (report.findings, result.code) == ((), 0), result.err
    assert [one.check for one in report.unchecked] == [IndexerCheck.NODE_NAME]  # the router was asked
    assert upstream.requests(), "the probe went by containerd's own way"
    assert await daemon.store.images() == {}
    assert await daemon.cri.images() == []
    await eventually(lambda: daemon.blobs() == set())

    await daemon.cri.pull(REFERENCE)
    before = await daemon.store.images()
    for reference in (REFERENCE, "reg.test/team/app:again", f"reg.test/team/app@{image.target.digest}"):
        assert await probed(settings, reference) == []
        assert (await daemon.store.images()).keys() == before.keys()
    assert severities(await examined(settings)) == {}

    hosts = daemon.certs_path / "reg.test" / "hosts.toml"
    hosts.write_text(f'server = "{upstream.url}"\n[host."{upstream.url}"]\n')
    (passed_by,) = await probed(settings)
    assert isinstance(passed_by, Finding)
    assert (passed_by.check, passed_by.severity) == ("mirror-not-asked", "error")
    await upstream.stop()
    (failed,) = await probed(settings)
    assert failed.check == "probe-pull"


@every_version
async def test_a_probe_that_is_ended_in_the_middle_of_its_pull_leaves_nothing(
    series: str, containerd: ContainerdFactory, tmp_path: Path, upstream: Upstream
) -> None:
    await pushed(tmp_path, upstream, [16 * MIB])
    node = await containerd(series)
    async with Uplink(upstream.port, 2 * MIB).open() as uplink:
        node.mirror("reg.test", uplink.url)
        doctor = await asyncio.create_subprocess_exec(
            SCRIPTS / "heliograph-indexer",
            *("doctor", "--no-ask-bus", "--probe", REFERENCE, "--containerd-socket", str(node.socket)),
            stdout=asyncio.subprocess.PIPE,
        )
        await eventually(lambda: uplink.sent_bytes > MIB, 60)
        doctor.send_signal(signal.SIGTERM)
        out, _ = await asyncio.wait_for(doctor.communicate(), 30)
        assert (doctor.returncode, out) == (128 + signal.SIGTERM, b"")
        await eventually(lambda: node.blobs() == set(), 30)
        assert await node.store.images() == {}
        assert await node.cri.images() == []
        assert uplink.sent_bytes < 16 * MIB


@every_version
async def test_what_a_containerd_is_reported_wrong_is_named(
    series: str, containerd: ContainerdFactory, nats_server: NatsServer, tmp_path: Path, upstream: Upstream
) -> None:
    await pushed(tmp_path, upstream, [50_000, 100])
    node = await containerd(series, extra_config=DISCARDING[series[0]] + ISOLATED)
    node.mirror("reg.test", upstream.url)
    await node.cri.pull(REFERENCE)
    settings = settings_of(node, nats_server) | {"REGISTRY_CONFIG_PATH": "/elsewhere/certs.d"}

    report = await examined(settings)

    assert severities(report) == {
        "config-path": "error",
        "discard-unpacked-layers": "error",
        "content-sharing": "warning",
    }
    assert f"'{node.certs_path}'" in finding(report, "config-path").seen
    assert 'config_path = "/elsewhere/certs.d"' in finding(report, "config-path").remedy
    section = "cri.v1.images" if node.release.modern else "grpc.v1.cri"
    assert section in finding(report, "discard-unpacked-layers").remedy

    blind = await examined(settings | {"CONTAINERD_CONFIG_PATH": "/nowhere"})
    assert severities(blind)["discard-unpacked-layers"] == "error"
    assert ("config-path" in {one.check for one in blind.unchecked}) is node.release.modern
    assert ("pulled last" in finding(blind, "discard-unpacked-layers").seen) is node.release.modern


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

    report = await examined(settings | {"CONTENT_PATH": tmp_path / "elsewhere"})

    assert severities(report) == {
        "config-path": "error",
        "layers-missing": "warning",
        "content-path": "error",
    }
    assert "is not set" in finding(report, "config-path").problem
    assert layer[:19] in finding(report, "layers-missing").seen
    assert "none" in finding(report, "content-path").seen

    remedy = finding(report, "layers-missing").remedy.split()
    assert remedy[0] == "ctr"
    fixed = await asyncio.create_subprocess_exec(
        node.release.ctr,
        *("--address", str(node.socket), *remedy[1:-1], "--hosts-dir", str(node.certs_path), remedy[-1]),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await fixed.wait() == 0
    again = await examined(settings | {"CONTENT_PATH": node.content_path / "nothing"})
    assert severities(again) == {"config-path": "error", "content-path": "error"}
    assert "No such file" in finding(again, "content-path").seen


@every_version
async def test_a_containerd_without_cri_or_that_is_gone_is_named(
    series: str, containerd: ContainerdFactory, nats_server: NatsServer
) -> None:
    node = await containerd(series)
    config = node.directory / "config.toml"
    disabled = config.read_text().replace("disabled_plugins = [", f'disabled_plugins = ["{CRI_PLUGIN}", ')
    config.write_text(disabled)
    await node.process.stop()
    settings = settings_of(node, nats_server)
    gone = await examined(settings)
    assert severities(gone) == {"containerd-unreachable": "error"}
    assert str(node.socket) in finding(gone, "containerd-unreachable").seen

    node.process.start()

    async def is_reported() -> bool:
        return severities(await examined(settings)) == {"cri-unavailable": "error"}

    await eventually(is_reported, 30)


@every_version
async def test_what_the_doctor_says_of_certs_d_is_what_containerd_does(
    series: str, containerd: ContainerdFactory, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Each broken folder is named, and containerd does not ask the mirror; with none of them it does."""
    node = await containerd(series)
    folder, default = node.certs_path / "reg.test", node.certs_path / "_default" / "hosts.toml"
    async with serve_registry(tmp_path / "registry", "node-1", free_port()) as mirror:
        url, counting = f"http://{mirror.address}", RegistryHttp(f"{mirror.admin}/readyz")
        certs = load(
            CertsSettings, "test", [f"--registry-config-path={node.certs_path}", f"--mirror-targets={url}"]
        )
        assert await asyncio.to_thread(apply, certs)

        async def looked() -> tuple[dict[str, str], bool]:
            """What the doctor says, and whether a pull asks the mirror."""
            report = await certs_examination(certs).report()
            before = await counting.requests()
            with pytest.raises(grpc.aio.AioRpcError):
                await node.cri.pull("reg.test/team/absent:v1")
            return severities(report), await counting.requests() != before

        assert await looked() == ({}, True)
        folder.mkdir()
        assert await looked() == ({"default-shadowed": "error"}, False)
        (folder / "hosts.toml").write_text(f'[host."{url}"\n')
        assert await looked() == ({"hosts-broken": "error"}, False)
        (folder / "hosts.toml").write_text(f'[host."{url}"]\n  dial_timeout = 3\n')
        assert await looked() == ({"hosts-broken": "error"}, not node.release.modern)
        for named in (
            'ca = "ca.crt"',
            'ca = ["ca.crt"]',
            'client = "both.pem"',
            'client = [["a.pem", "b.pem"]]',
        ):
            (folder / "hosts.toml").write_text(f'[host."{url}"]\n  {named}\n')
            assert await looked() == ({"certificate-unusable": "error"}, False), named
        (folder / "ca.crt").write_text("not PEM\n")
        (folder / "hosts.toml").write_text(f'server = "https://reg.test"\nca = "ca.crt"\n[host."{url}"]\n')
        assert await looked() == ({"certificate-unusable": "error"}, False)
        (folder / "ca.crt").write_bytes(Authority(tmp_path / "authority").certificate.read_bytes())
        (folder / "hosts.toml").write_text(f'[host."{url}"]\n  ca = "ca.crt"\n')
        assert await looked() == ({}, True)
        (folder / "hosts.toml").unlink()
        (folder / "hosts.toml").mkdir()
        misplaced = ({"certs-unreadable": "error"}, False)
        assert await looked() == misplaced
        (folder / "hosts.toml").rmdir()
        (folder / "hosts.toml").symlink_to("hosts.toml")
        assert await looked() == misplaced
        shutil.rmtree(folder)
        folder.symlink_to(folder.name)
        assert await looked() == misplaced
        folder.unlink()
        folder.write_text("")
        assert await looked() == misplaced
        folder.unlink()
        folder.symlink_to("nothing")
        assert await looked() == ({"certs-unreadable": "warning"}, True)
        folder.unlink()
        (node.certs_path / "README").write_text("stray")
        (node.certs_path / "ca.crt").write_text("stray")
        assert await looked() == ({}, True)
        default.rename(default.with_name("away"))
        assert await looked() == ({"not-mirrored": "error"}, False)
        default.with_name("away").rename(default)

    assert severities(await certs_examination(certs).report()) == {"mirror-unreachable": "error"}
    gone = {"ADVERTISE": mirror.address, "REGISTRY_READY_URL": f"{mirror.admin}/readyz"}
    report = await examined(settings_of(node, nats_server) | gone)
    assert severities(report) == {"registry-not-ready": "error", "registry-unreachable": "error"}
