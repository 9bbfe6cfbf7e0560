"""Real containerd daemons and a real upstream registry."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.cluster_support import Cluster
from tests.e2e.lab_support import REPOSITORY, TAG, Lab
from tests.support.containerd import Containerd
from tests.support.images import Image, make_image, push
from tests.support.machines import SERIES, release
from tests.support.nats import NatsServer
from tests.support.otlp import OtlpReceiver, exporting_to
from tests.support.system import running_system
from tests.support.upstream import Upstream

ContainerdFactory = Callable[..., Awaitable[Containerd]]


@pytest.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[Upstream]:
    """An empty registry; push to `.url`, assert on `.requests()`."""
    async with Upstream(tmp_path) as registry:
        yield registry


@pytest.fixture
async def containerd(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ContainerdFactory]:
    """A factory of started daemons, named by series (such as "1.6"); all end with the test.

    Their directories are short, for the sockets; their logs lie in the test's `tmp_path`.
    """
    async with AsyncExitStack() as daemons:
        count = 0

        async def start(series: str, **options: Any) -> Containerd:
            nonlocal count
            count += 1
            directory = tmp_path_factory.mktemp("ctd")
            log = tmp_path / f"containerd-{count}-{series}.log"
            daemon = Containerd(release(series), directory, log=log, **options)
            return await daemons.enter_async_context(daemon)

        yield start


@pytest.fixture
async def cluster(
    tmp_path: Path,
    nats_server: NatsServer,
    containerd: ContainerdFactory,
    upstream: Upstream,
    otlp_receiver: OtlpReceiver,
) -> AsyncIterator[Cluster]:
    """A bus, a router, and as yet no node; everything exports its spans to `otlp_receiver`."""
    async with running_system(tmp_path, nats_server, exporting_to(otlp_receiver)) as system:
        await system.start_router()
        yield Cluster(system, containerd, upstream, tmp_path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab_upstream(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Upstream, Image]]:
    directory = tmp_path_factory.mktemp("upstream")
    image = make_image(directory / "image", [2000], index=True)
    async with Upstream(directory) as registry:
        await push(image, registry.url, REPOSITORY, TAG)
        yield registry, image


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SERIES)
async def lab_node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Containerd]:
    async with Containerd(release(request.param), tmp_path_factory.mktemp("ctd")) as node:
        yield node


@pytest.fixture
def lab(lab_node: Containerd, lab_upstream: tuple[Upstream, Image]) -> Lab:
    """Of every version in turn; for tests marked `asyncio(loop_scope="module")`."""
    for entry in lab_node.certs_path.iterdir():
        shutil.rmtree(entry)
    return Lab(lab_node, *lab_upstream)
