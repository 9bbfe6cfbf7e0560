"""Several folders in `config_path`: which containerds look into all of them, and that ours hides none."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heliograph_configurator.app import apply, cleanup
from heliograph_configurator.settings import Settings
from heliograph_indexer.domain.runtime_settings import ContainerdVersion, examine_settings, from_toml
from heliograph_shared.settings import load
from tests.e2e.lab_support import Lab
from tests.support.authority import Authority
from tests.support.containerd import Containerd
from tests.support.images import Image
from tests.support.machines import MODERN, SERIES, absent, release
from tests.support.mirror import running_mirror
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.skipif(bool(absent()), reason=absent()),
    pytest.mark.asyncio(loop_scope="module"),
]

LOCAL_PULL = "[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n"
"""Pulls by the CRI plugin itself, as containerd 1 does, instead of by the transfer service."""
SPLITTING = [(series, LOCAL_PULL if series in MODERN else "") for series in SERIES]


@asynccontextmanager
async def two_roots(
    series: str, extra: str, upstream: tuple[Upstream, Image], directory: Path
) -> AsyncIterator[tuple[Lab, Sequence[Path]]]:
    roots = directory / "a", directory / "b"
    for root in roots:
        root.mkdir()
    paths = ":".join(map(str, roots))
    node = Containerd(
        release(series),
        directory,
        config_path=paths,
        extra_config=extra,
        snapshotter="overlayfs" if extra else None,  # native has a table of the same name
    )
    async with node:
        yield Lab(node, *upstream), roots


def doubted(lab: Lab, roots: Sequence[Path], *, local_pull: bool) -> bool:
    """Whether the indexer's doctor says that containerd does not read the first root."""
    version = ContainerdVersion(lab.node.release.label)
    section = "io.containerd.cri.v1.images" if lab.modern else "io.containerd.grpc.v1.cri"
    images = {"registry": {"config_path": ":".join(map(str, roots))}}
    document = {"plugins": {section: {**images, "use_local_image_pull": local_pull}}}
    found = list(examine_settings(from_toml(document, "config.toml", version), version, str(roots[0])))
    return any(finding.severity == "error" for finding in found)


@pytest.mark.parametrize("series", MODERN)
async def test_the_transfer_service_of_2_finds_no_folder(
    series: str, lab_upstream: tuple[Upstream, Image], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("ctd")
    async with two_roots(series, "", lab_upstream, directory) as (lab, roots), running_mirror() as mirror:
        for root in roots:
            (root / lab.registry).mkdir()
            (root / lab.registry / "hosts.toml").write_text(f'[host."{mirror.url}"]\n')
        await lab.pull()
        assert mirror.asked == []
        assert doubted(lab, roots, local_pull=False)


@pytest.mark.parametrize(("series", "extra"), SPLITTING)
async def test_a_certificate_in_the_second_folder_is_still_used(
    series: str,
    extra: str,
    lab_upstream: tuple[Upstream, Image],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("ctd")
    authority = Authority(directory)
    server, client = authority.sign("server"), authority.sign("client")
    async with (
        two_roots(series, extra, lab_upstream, directory) as (lab, roots),
        running_mirror() as mirror,
        running_mirror(tls=authority.server(server, verify_clients=True)) as r5,
    ):
        assert not doubted(lab, roots, local_pull=bool(extra))
        registry = r5.url.removeprefix("https://")
        folder = roots[1] / registry
        folder.mkdir()
        (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())
        (folder / "client.cert").write_bytes(client.certificate.read_bytes())
        (folder / "client.key").write_bytes(client.key.read_bytes())
        if series == "1.6":  # without a file it takes a registry on localhost for one without TLS
            tls = 'ca = "ca.crt"\nclient = [["client.cert", "client.key"]]\n'
            hosts = f'server = "{r5.url}"\n{tls}[host."{mirror.url}/other"]\n'
            (folder / "hosts.toml").write_text(hosts)
        await lab.fail(registry, "not found")
        assert lab.everything()[0][:2] in {asked[:2] for asked in r5.asked}

        for known in (roots[:1], roots):
            r5.forget()
            mirror.forget()
            paths = ":".join(map(str, known))
            flags = ["--registry-config-path", paths, "--mirror-targets", mirror.url]
            settings = load(Settings, "heliograph-configurator", flags)
            assert await asyncio.to_thread(apply, settings)
            await lab.fail(registry, "not found" if known == roots else None)
            assert mirror.asked[0] == lab.everything(registry)[0]
            assert bool(r5.asked) is (known == roots)
        assert await asyncio.to_thread(cleanup, settings)
        assert list(roots[0].iterdir()) == []
