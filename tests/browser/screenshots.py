"""`make screenshots`: makes the pictures of the docs and the README, from a system that has pulled images."""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.async_api import Browser, Page

from tests.browser.chromium import PHONE, Scheme, chromium, opened
from tests.browser.pulled_system import all_listed, node, pulled
from tests.support.images import make_image, write_layout
from tests.support.line import Line
from tests.support.nats import NatsServer
from tests.support.system import Node, System, running_system

MIB = 1 << 20
SETTINGS = {"HELIOGRAPH_ZONE": "eu-1a"}
WINDOW = (1280, 740)
NAMES = {
    "docker.io/library/nginx:1.27": (28 * MIB, 42 * MIB, 900, 1_400, 10_000),
    "ghcr.io/acme/api:2.3.1": (30 * MIB, 9 * MIB, 200_000),
    "quay.io/acme/worker:2025-11": (12 * MIB, 6 * MIB),
    "registry.k8s.io/pause:3.10": (300_000,),
}


@dataclass
class Scene:
    system: System
    shown: Node
    fresh: Node


@asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[Scene]:
    """A system of five nodes; `shown` has received from and sent to others, `fresh` holds one image only."""
    async with NatsServer(directory) as nats, running_system(directory, nats, SETTINGS) as system:
        await system.start_router()
        names = [f"worker-{number}" for number in range(1, 6)]
        made = [await node(system, name, directory) for name in names]
        nodes, layouts = [one[0] for one in made], [one[1] for one in made]
        digests = {}
        for seed, (name, sizes) in enumerate(NAMES.items()):
            image = make_image(directory / "images", sizes, seed=seed)
            digests[name] = [blob.digest for blob in image.pulled()]
            holder = (0, 2, 4, 0)[seed]
            write_layout(image, layouts[holder].path, name)
            await system.announced(names[holder], name, *digests[name])
        await all_listed(system)
        for name, puller in (
            ("registry.k8s.io/pause:3.10", 1),
            ("docker.io/library/nginx:1.27", 1),
            ("ghcr.io/acme/api:2.3.1", 1),
            ("docker.io/library/nginx:1.27", 2),
            ("quay.io/acme/worker:2025-11", 1),
            ("ghcr.io/acme/api:2.3.1", 3),
            ("docker.io/library/nginx:1.27", 4),
        ):
            await pulled(name, nodes[puller], layouts[puller], system, digests[name])
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(f"{nodes[1].url}/v2/library/redis/manifests/7.4?ns=docker.io")
        yield Scene(system, nodes[1], nodes[3])


async def shoot(page: Page, path: Path, *, full: bool = False) -> None:
    await page.wait_for_timeout(1200)  # the first live update has come
    await page.screenshot(path=path, full_page=full)


async def overview(browser: Browser, scene: Scene, target: Path) -> None:
    variants: list[tuple[str, Scheme, tuple[int, int]]] = [
        ("debug-page", "light", WINDOW),
        ("debug-page-dark", "dark", WINDOW),
        ("debug-page-phone", "light", PHONE),
    ]
    for name, scheme, size in variants:
        async with opened(browser, f"{scene.shown.admin}/debug/web", scheme=scheme, size=size) as (page, _):
            await shoot(page, target / f"{name}.png")


async def why(browser: Browser, scene: Scene, target: Path) -> None:
    url = f"{scene.fresh.admin}/debug/web/why?image=docker.io/library/nginx:1.27"
    async with opened(browser, url, size=(1280, 760)) as (page, _):
        await shoot(page, target / "debug-page-why.png")


async def pull_test(browser: Browser, scene: Scene, target: Path) -> None:
    """In the middle of a pull test, with the bandwidth of every node limited."""
    for one in scene.system.nodes.values():
        Line(one.registry, one.port).limit(10 * MIB)
    async with opened(browser, f"{scene.fresh.admin}/debug/web/pull-test", size=(1280, 680)) as (page, _):
        await page.get_by_label("Image").fill("docker.io/library/nginx:1.27")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/pull-test")
        await page.locator(".outcome.running").wait_for()
        await shoot(page, target / "debug-page-pull-test.png")


async def main(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="heliograph-") as directory:
        async with scene(Path(directory)) as made, chromium() as browser:
            await overview(browser, made, target)
            await why(browser, made, target)
            await pull_test(browser, made, target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, help="where the pictures are written")
    asyncio.run(main(parser.parse_args().target))
