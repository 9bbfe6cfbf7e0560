"""`heliograph up`: runs a cluster on this machine, puts an image on one node and pulls it through others."""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from heliograph_cli.credentials import authorization_of
from heliograph_cli.errors import NotAnswered, UnusableLayout
from heliograph_cli.layout import Layout, usable
from heliograph_cli.local_cluster import (
    ExternalContainerd,
    LocalCluster,
    LocalNode,
    NodeStore,
    plan,
    run_cluster,
)
from heliograph_cli.ports import Ports
from heliograph_cli.process import Program
from heliograph_cli.pull import Pulled, pull
from heliograph_cli.render import bars, plain, pulled_table
from heliograph_cli.router import RouterClient, open_router
from heliograph_cli.sample_image import write_sample_image
from heliograph_shared.formatting import size
from heliograph_shared.image import Descriptor
from heliograph_shared.reference import parse_reference
from heliograph_shared.rpc import resolver_pb2 as pb

_ANNOUNCED_S = 30.0
_POLL_S = 0.05
_KEYS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class UpOptions:
    """`image` is an OCI layout, None for a sample; `directory` keeps the stores, None for a temporary one.

    With `basic_auth_file` the registries require a user and password. The services `without`, named as by
    `service_names`, are not started but waited for.
    """

    nodes: int
    containerds: Sequence[ExternalContainerd]
    image: Path | None
    directory: Path | None
    once: bool
    basic_auth_file: Path | None = None
    without: Sequence[str] = ()


async def up(options: UpOptions, console: Console) -> None:
    """Returns after the table with `once`, else runs until cancelled. Raises `Failure`s, in groups."""
    if options.image is not None:
        _named_images(options.image)  # fail before anything is started
    with _run_directory(options.directory) as directory, Ports() as ports:
        layouts = [Layout(directory / f"node-{number}") for number in range(1, options.nodes + 1)]
        for layout in layouts:
            layout.create()
        stores: list[NodeStore] = [*layouts, *options.containerds]
        cluster = plan(directory, stores, ports, basic_auth_file=options.basic_auth_file)
        logs = directory / "logs"
        with usable(logs):
            logs.mkdir(exist_ok=True)
        _say(console, f"starting nats, a router and {len(stores)} nodes; logs are in {logs}")
        for name in options.without:
            _say_how_to_start(name, cluster.services[name], console)
        began = time.monotonic()
        running = run_cluster(cluster, logs, without=options.without)
        async with running, open_router(cluster.router) as router:
            _say(console, f"ready after {time.monotonic() - began:.1f} s")
            images = await _show(cluster, layouts, options, router, console)
            if not options.once:
                _say_what_to_try(cluster, next(iter(images)), options.basic_auth_file, console)
                await asyncio.Event().wait()


async def _show(
    cluster: LocalCluster,
    layouts: Sequence[Layout],
    options: UpOptions,
    router: RouterClient,
    console: Console,
) -> Mapping[str, Descriptor]:
    first, second, *others = cluster.nodes
    images = await asyncio.to_thread(_seed, layouts[0], options.image)
    digests = layouts[0].digests()
    authorization = authorization_of(options.basic_auth_file)
    for name in images:
        _say(console, "", f"{first.name} holds {name}")
    seconds = await _announced(router, [*images, *digests], by=first)
    _say(console, f"the router knows its {len(digests)} blobs after {seconds:.2f} s")
    for name in images:
        _say(console, "", f"{second.name} pulls {name}")
        console.print(pulled_table(await _pull(name, second, layouts[1], console, authorization)))
    if len(layouts) > 2:
        third = others[0]
        await _announced(router, [*images, *layouts[1].digests()], by=second)
        for name in images:
            pulled = await _pull(name, third, layouts[2], console, authorization)
            _say(console, "", f"{third.name} pulled {name} then: {_sources(pulled)}")
    return images


def _say_how_to_start(name: str, program: Program, console: Console) -> None:
    first, *others = program.shell_lines()
    _say(
        console,
        "",
        f"waiting for {name}, which is left out; start it in another terminal with:",
        "",
        f"  {first}",
        *(f"    {line}" for line in others),
        "",
        f"to debug it, put -m pdb (or -m debugpy --listen 5678) before {' '.join(program.command[1:])}",
        "",
    )


def _named_images(path: Path) -> Layout:
    layout = Layout(path)
    if not layout.images():
        raise UnusableLayout(path, "no image in index.json has a name")
    return layout


def _seed(layout: Layout, image: Path | None) -> Mapping[str, Descriptor]:
    return write_sample_image(layout) if image is None else layout.adopt(_named_images(image))


async def _announced(router: RouterClient, keys: Sequence[str], *, by: LocalNode) -> float:
    """Seconds until the router answers every key with the node `by`. Raises `NotAnswered` after 30."""
    began = time.monotonic()
    for begin in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[begin : begin + _KEYS_AT_ONCE]
        while missing := [
            key
            for key, found in zip(some, await router.resolve(some, max_peers=100), strict=True)
            if found.status != pb.FOUND or by.name not in {peer.node for peer in found.peers}
        ]:
            if time.monotonic() - began > _ANNOUNCED_S:
                raise NotAnswered(missing[0], f"{by.name} has not announced it within {_ANNOUNCED_S:g} s")
            await asyncio.sleep(_POLL_S)
    return time.monotonic() - began


async def _pull(name: str, node: LocalNode, layout: Layout, console: Console, authorization: str) -> Pulled:
    with bars(console) as watcher:
        return await pull(parse_reference(name), node.url, layout, watcher, authorization=authorization)


def _sources(pulled: Pulled) -> str:
    sources: dict[str, int] = {}
    for part in pulled.parts:
        sources[part.source] = sources.get(part.source, 0) + 1
    counted = ", ".join(f"{count} from {plain(source)}" for source, count in sorted(sources.items()))
    return f"{counted}; {size(pulled.size_bytes)} in {pulled.seconds:.2f} s"


def _say_what_to_try(
    cluster: LocalCluster, image: str, basic_auth_file: Path | None, console: Console
) -> None:
    auth = f" --basic-auth-file {basic_auth_file}" if basic_auth_file else ""
    lines = ["", f"nats    {cluster.nats_url}", f"router  {cluster.router}"]
    lines += [f"{node.name}  {node.url}" for node in cluster.nodes]
    lines += ["", "in a browser: is it working, and why not"]
    lines += [f"{node.name}  {node.debug_url}" for node in cluster.nodes]
    heliograph, last = _script("heliograph"), cluster.nodes[-1]
    lines += [
        "",
        "try, in another terminal:",
        f"  {heliograph} nodes --router {cluster.router}",
        f"  {heliograph} resolve {image} --router {cluster.router}",
        f"  {heliograph} pull {image} --mirror {last.url}{auth}",
        f"  {heliograph} events --nats {cluster.nats_url}",
    ]
    for node in cluster.nodes:
        if isinstance(node.store, ExternalContainerd):
            lines += [
                "",
                f"to let {node.store.socket} pull through {node.name}:",
                f"  {_script('heliograph-configurator')} apply --mirror-targets {node.url}"
                f" --registry-config-path /etc/containerd/certs.d{auth}",
            ]
    _say(console, *lines, "", "Ctrl-C ends it all")


def _script(name: str) -> str:
    """What to type in the working directory: the name if PATH has it, else the path."""
    if shutil.which(name):
        return name
    script = Path(sys.executable).with_name(name)
    return str(script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script)


@contextmanager
def _run_directory(chosen: Path | None) -> Iterator[Path]:
    """The chosen one is kept; without a choice it is temporary."""
    if chosen is not None:
        with usable(chosen):
            chosen.mkdir(parents=True, exist_ok=True)
        yield chosen.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="heliograph-") as temporary:
        yield Path(temporary)


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(Text(plain(line)), soft_wrap=True)
