"""Clients other than containerd pull from a registry whose node holds nothing: each byte comes from a peer.

There is no upstream: what the mirror does not serve fails the pull.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.containerd import Containerd, usable_snapshotter
from tests.support.dockerd import Dockerd
from tests.support.images import ARCHITECTURE, Image, make_image, write_layout
from tests.support.machines import absent, client, release
from tests.support.nats import NatsServer
from tests.support.system import Node, System, running_system

SCRIPTS = Path(sys.executable).parent
NEEDED = ("crane", "oras", "dockerd")
MISSING = [] if os.environ.get("CI") else [name for name in NEEDED if not client(name).exists()]

pytestmark = [
    pytest.mark.skipif(bool(absent() or MISSING), reason=absent() or f"no {MISSING}: run `make machines`"),
    pytest.mark.asyncio(loop_scope="module"),
]

HUB, OTHER = "docker.io/library/app", "reg.test/team/app"


@dataclass(frozen=True)
class Mirror:
    """`node` has no content; a peer holds `image` as v1 of both repositories.

    Indexers that follow a containerd follow Docker's namespace in it.
    """

    system: System
    node: Node
    image: Image

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.node.port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mirror(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mirror]:
    directory = tmp_path_factory.mktemp("clients")
    image = make_image(directory / "image", [100_000, 2000], index=True)
    for repository in (HUB, OTHER):
        write_layout(image, directory / "layout", f"{repository}:v1")
    nothing = directory / "nothing"
    nothing.mkdir()
    (nothing / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (nothing / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    docker = {"indexer": {"HELIOGRAPH_CONTAINERD_NAMESPACE": "moby"}}
    async with NatsServer(directory) as nats, running_system(directory, nats, of_services=docker) as system:
        await system.start_router()
        node, _ = await asyncio.gather(
            system.add_node("here", nothing), system.add_node("holder", directory / "layout")
        )
        keys = [f"{HUB}:v1", f"{OTHER}:v1", *(blob.digest for blob in image.pulled())]
        await system.announced("holder", *keys, within=60)
        yield Mirror(system, node, image)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def containerd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Containerd]:
    async with Containerd(release("2"), tmp_path_factory.mktemp("ctd")) as daemon:
        yield daemon


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For a Docker daemon, which gets an overlay as its /etc."""
    made = tmp_path_factory.mktemp("dkr")
    if usable_snapshotter(made) == "native" and not os.environ.get("CI"):
        pytest.skip("overlayfs cannot be mounted here")
    return made


async def run(*command: str | Path, home: Path) -> str:
    """What the program printed. Raises `AssertionError` with its errors if it fails."""
    child = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )
    printed, errors = await child.communicate()
    assert child.returncode == 0, errors.decode()
    return printed.decode()


async def test_crane_pulls_with_the_registry_in_the_path(mirror: Mirror, tmp_path: Path) -> None:
    name = f"{mirror.host}/{OTHER}:v1"
    assert (await run(client("crane"), "digest", name, home=tmp_path)).strip() == mirror.image.target.digest
    await run(client("crane"), "pull", "--format=oci", name, tmp_path / "pulled", home=tmp_path)
    assert is_complete(tmp_path / "pulled", mirror.image)


async def test_oras_copies_with_the_registry_in_the_path(mirror: Mirror, tmp_path: Path) -> None:
    name, layout = f"{mirror.host}/{OTHER}:v1", f"{tmp_path}/pulled:v1"
    platform = f"--platform=linux/{ARCHITECTURE}"
    options = ("--from-plain-http", "--to-oci-layout", platform)
    await run(client("oras"), "copy", *options, name, layout, home=tmp_path)
    assert is_complete(tmp_path / "pulled", mirror.image)


async def test_dockers_classic_store_pulls_by_its_registry_mirror(
    mirror: Mirror, containerd: Containerd, directory: Path
) -> None:
    async with Dockerd(directory, containerd, mirror=f"http://{mirror.host}/docker.io") as docker:
        assert await docker.pull("app", "v1") == mirror.image.config.digest


async def test_dockers_containerd_store_pulls_by_hosts_toml_and_is_a_holder(
    mirror: Mirror, containerd: Containerd, directory: Path
) -> None:
    async with Dockerd(directory, containerd, containerd_store=True) as docker:
        options = ("--registry-config-path", docker.certs_path, "--mirror-targets", mirror.node.url)
        await run(SCRIPTS / "heliograph-configurator", "apply", *options, home=directory)
        for repository in (OTHER, "app"):
            assert await docker.pull(repository, "v1") == mirror.image.target.digest
        await mirror.system.add_node("docker", containerd.content_path, containerd)
        blobs = (blob.digest for blob in mirror.image.pulled())
        await mirror.system.announced("docker", f"{OTHER}:v1", f"{HUB}:v1", *blobs, within=60)


def is_complete(layout: Path, image: Image) -> bool:
    """Whether the OCI layout has all of the image for this platform; the client has hashed it."""
    blobs = (image.manifest, image.config, *image.layers)
    return all((layout / "blobs" / blob.digest.replace(":", "/")).exists() for blob in blobs)
