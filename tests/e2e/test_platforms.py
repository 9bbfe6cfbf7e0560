"""Nodes of another platform than those that hold an image, on real containerds of every version."""

import asyncio
import tarfile
from pathlib import Path

import httpx
import pytest

from tests.e2e.cluster_support import REFERENCE, Cluster
from tests.e2e.conftest import ContainerdFactory
from tests.support.containerd import Containerd
from tests.support.images import OTHER_ARCHITECTURE, Image, make_image, push, write_layout
from tests.support.machines import SERIES, absent
from tests.support.upstream import Upstream

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

OTHER = f"linux/{OTHER_ARCHITECTURE}"
MOVED, HELD, DISCARDED = (REFERENCE.replace(":v1", f":{tag}") for tag in ("main", "held", "discarded"))


async def ctr(daemon: Containerd, *arguments: str | Path) -> None:
    """Run containerd's own client in the namespace of the CRI."""
    process = await asyncio.create_subprocess_exec(
        daemon.release.ctr,
        *("--address", str(daemon.socket), "--namespace", "k8s.io", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def pulled(daemon: Containerd, reference: str) -> str:
    """Pull for the other platform. The digest that the name has now."""
    local = ["--local"] if daemon.release.modern else []  # the transfer service unpacks only its own platform
    hosts = ("--hosts-dir", daemon.certs_path)
    await ctr(daemon, "images", "pull", *local, *hosts, "--platform", OTHER, reference)
    return (await daemon.store.images())[reference].target.digest


async def imported(cluster: Cluster, daemon: Containerd, image: Image, directory: Path) -> None:
    """As from `docker save`: only this machine's platform, under the tag of the whole image."""
    single = Image(image.manifest, image.manifest, image.config, image.layers)
    write_layout(single, directory / "saved", REFERENCE)
    with tarfile.open(directory / "saved.tar", "w") as archive:
        archive.add(directory / "saved", arcname=".")
    await ctr(daemon, "images", "import", directory / "saved.tar")
    await cluster.system.announced("n0", REFERENCE, *(blob.digest for blob in single.pulled()))


async def moved(upstream: Upstream, old: Image, new: Image) -> None:
    """Upstream's tag points at another image, and the manifests of the old one are deleted."""
    await push(new, upstream.url, "team/app", "main")
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        for digest in (old.target.digest, old.manifest.digest, old.others[0].digest):
            answer = await http.delete(f"{upstream.url}/v2/team/app/manifests/{digest}")
            assert answer.status_code == 202


async def without_layers(cluster: Cluster, image: Image, layout: Path) -> None:
    """A node of the other platform holds an image that upstream has no more, and has discarded its layers."""
    write_layout(image, layout, DISCARDED)
    manifest, config, *layers = image.others
    for layer in layers:
        (layout / "blobs" / layer.digest.replace(":", "/")).unlink()
    await cluster.system.add_node("discarding", layout)
    await cluster.system.announced("discarding", DISCARDED, manifest.digest, config.digest)


async def test_a_node_of_another_platform_gets_what_it_can_run(
    cluster: Cluster, upstream: Upstream, containerd: ContainerdFactory, tmp_path: Path
) -> None:
    image, old, new, held, discarded = (
        make_image(tmp_path / "image", [20_000 + seed], seed=seed, index=True) for seed in range(5)
    )
    await push(image, upstream.url, "team/app", "v1")
    await push(old, upstream.url, "team/app", "main")
    _, n0 = await cluster.add("n0", "2")
    await imported(cluster, n0, image, tmp_path)
    await n0.cri.pull(MOVED)
    await cluster.system.announced("n0", MOVED, *(blob.digest for blob in old.pulled()))
    await moved(upstream, old, new)
    await cluster.add_holder("holder", (held, HELD))
    await push(new, upstream.url, "team/app", "discarded")
    await without_layers(cluster, discarded, tmp_path / "discarded")

    (tmp_path / "empty").mkdir()
    write_layout(make_image(tmp_path / "image", [], seed=9), tmp_path / "empty", "reg.test/other:1")
    other = await cluster.system.add_node(
        "other", tmp_path / "empty", environment={"HELIOGRAPH_PLATFORM": OTHER}
    )
    daemons = await asyncio.gather(*map(containerd, SERIES))
    for daemon in daemons:
        daemon.mirror("reg.test", other.url, server=upstream.url)
    for reference, expected in (
        (REFERENCE, image),
        (MOVED, new),
        (DISCARDED, new),
        (HELD, held),
    ):
        found = await asyncio.gather(*(pulled(daemon, reference) for daemon in daemons))
        assert found == [expected.target.digest] * len(SERIES), reference
    assert upstream.asked_for("held", (blob.digest for blob in held.blobs())) == set()
    others = {blob.digest for each in (image, new, held) for blob in each.others}
    assert all(daemon.blobs() >= others for daemon in daemons)
