"""A system of three nodes that has pulled an image once, as a new user has after five minutes."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from heliograph_cli.layout import Layout
from heliograph_cli.pull import pull
from heliograph_registry.debug.adapters.router_queries import GrpcRouterQueries
from heliograph_shared.digest import Digest
from heliograph_shared.image import ImagePart
from heliograph_shared.reference import parse_reference
from tests.browser.findings import serve_findings
from tests.support.images import Image, make_image, write_layout
from tests.support.nats import NatsServer
from tests.support.system import Node, System, running_system
from tests.support.waiting import eventually

IMAGE = "docker.io/library/app:1.0"
SECRET = "docker.io/library/secret:1.0"
LAYERS = (100_000, 3_000_000, 24_000_000)


class Unwatched:
    """Ignores the progress of a pull."""

    def began(self, blob: ImagePart) -> None: ...

    def received(self, digest: Digest, size_bytes: int) -> None: ...


@dataclass
class Pulled:
    """`first` holds the image, `second` has pulled it from there; `third` has a filter, and findings."""

    system: System
    image: Image
    first: Node
    second: Node
    third: Node

    @property
    def allowed(self) -> set[str]:
        """Hosts from which a page may load: the nodes' admin ports."""
        return {node.admin.removeprefix("http://") for node in (self.first, self.second, self.third)}


async def node(
    system: System, name: str, directory: Path, environment: dict[str, str] | None = None
) -> tuple[Node, Layout]:
    """A node with an empty layout as its store."""
    layout = Layout(directory / name / "store")
    layout.create()
    return await system.add_node(name, layout.path, environment=environment), layout


async def pulled(reference: str, through: Node, into: Layout, system: System, parts: Iterable[str]) -> None:
    """Pull as containerd does, and wait until the router knows of it."""
    await pull(parse_reference(reference), through.url, into, Unwatched())
    await system.announced(through.name, reference, *parts)


async def all_listed(system: System) -> None:
    """Wait until the router names every node with its address."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{system.routers[0].port}") as channel:
        queries = GrpcRouterQueries(lambda: [channel])

        async def listed() -> bool:
            nodes = await queries.nodes()
            return {node.node for node in nodes if node.addresses} == system.nodes.keys()

        await eventually(listed, 30, "the router does not list every node")


@asynccontextmanager
async def pulled_system(directory: Path) -> AsyncIterator[Pulled]:
    async with (
        NatsServer(directory) as nats,
        serve_findings() as findings,
        running_system(directory, nats) as system,
    ):
        await system.start_router()
        image = make_image(directory / "images", LAYERS)
        first, first_layout = await node(system, "node-1", directory)
        second, second_layout = await node(system, "node-2", directory)
        settings = {"HELIOGRAPH_REGISTRY_FILTERS": "secret", "HELIOGRAPH_INDEXER_URL": findings}
        third, _ = await node(system, "node-3", directory, settings)
        digests = [blob.digest for blob in image.pulled()]
        write_layout(image, first_layout.path, IMAGE)
        write_layout(image, first_layout.path, SECRET)
        await system.announced("node-1", IMAGE, SECRET, *digests)
        await pulled(IMAGE, second, second_layout, system, digests)
        await all_listed(system)
        yield Pulled(system, image, first, second, third)
