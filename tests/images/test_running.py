"""The images as on a node: with a real containerd and a real bus, confined as the manifests declare."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub
from tests.images.buildah_support import Buildah, Image, run
from tests.images.container_support import Container, memory_limit_bytes
from tests.support.containerd import Containerd
from tests.support.machines import release
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tests.unit.deploy.manifests import DEPLOY, SERVICES, containers, render

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECLARED = containers(render(DEPLOY / "base"))
RUNNING = [service for service in SERVICES if DECLARED[service].spec.get("args") != ["apply"]]
HELD = "registry.example/mirror/router:test"


@dataclass(frozen=True, slots=True)
class RunningNode:
    """All long-running services, ready. `admin` and `registry` are base URLs, `router` is `host:port`.

    Its containerd holds one image: the router's, named `HELD`.
    """

    containers: Mapping[str, Container]
    admin: Mapping[str, str]
    registry: str
    router: str
    containerd: Containerd


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(
    images: Mapping[str, Image], buildah: Buildah, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningNode]:
    directory = tmp_path_factory.mktemp("node")
    archive = directory / "router.tar"
    buildah("push", "--quiet", images["router"].name, f"docker-archive:{archive}:{HELD}")
    daemon = Containerd(release("1.7"), tmp_path_factory.mktemp("ctd"), log=directory / "containerd.log")
    async with NatsServer(directory) as nats, daemon:
        # containerd creates its content folder with the first content; until then a pod would wait for it.
        ctr: list[str | Path] = [daemon.release.ctr, "--address", daemon.socket, "--namespace", "k8s.io"]
        await asyncio.to_thread(run, [*ctr, "images", "import", "--no-unpack", archive], {})
        ports = {name: free_port() for name in (*RUNNING, "grpc", "data")}
        listens = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        registry = f"127.0.0.1:{ports['data']}"
        environment = {
            "HELIOGRAPH_ADVERTISE": registry,
            "HELIOGRAPH_CONTAINERD_SOCKET": f"/run/containerd/{daemon.socket.name}",
            "HELIOGRAPH_NATS_URL": nats.url,
            "HELIOGRAPH_REGISTRY_LISTEN": registry,
            "HELIOGRAPH_REGISTRY_READY_URL": f"http://{listens['registry']}/readyz",
            "HELIOGRAPH_ROUTER_LISTEN": listens["grpc"],
            "HELIOGRAPH_ROUTER_TARGET": f"ipv4:{listens['grpc']}",
            "HELIOGRAPH_PEER_DNS": "",
        }
        volumes = {name: folder_for(name, directory) for service in RUNNING for name in mounted(service)}
        volumes |= {"containerd": daemon.directory, "content": daemon.content_path}
        node = RunningNode(
            {
                service: Container(
                    images[service],
                    DECLARED[service],
                    directory,
                    volumes=volumes,
                    environment={**environment, "HELIOGRAPH_ADMIN_LISTEN": listens[service]},
                )
                for service in RUNNING
            },
            {service: f"http://{listens[service]}" for service in RUNNING},
            f"http://{registry}",
            listens["grpc"],
            daemon,
        )
        for container in node.containers.values():
            container.start()
        try:
            await asyncio.gather(*(ready(node, service) for service in RUNNING))
            yield node
        finally:
            await asyncio.gather(*(container.stop() for container in node.containers.values()))


def mounted(service: str) -> list[str]:
    return [mount["name"] for mount in DECLARED[service].spec.get("volumeMounts", [])]


def folder_for(volume: str, directory: Path) -> Path:
    """A folder that is open to all, as the kubelet creates it; it contains a password if one is needed."""
    folder = directory / volume
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    if volume == "nats-user":
        (folder / "user").write_text("anybody:anything")
    return folder


async def answer(url: str) -> httpx.Response | None:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        try:
            return await http.get(url)
        except httpx.TransportError:
            return None


async def ready(node: RunningNode, service: str) -> None:
    container = node.containers[service]

    async def answers() -> bool:
        container.check()
        response = await answer(f"{node.admin[service]}/readyz")
        return response is not None and response.status_code == 200

    await eventually(answers, 60, lambda: f"{service} is not ready:\n{container.tail()}", interval=0.1)


@pytest.mark.parametrize("service", RUNNING)
async def test_a_service_starts_and_has_metrics(node: RunningNode, service: str) -> None:
    response = await answer(f"{node.admin[service]}/metrics")
    assert response is not None
    assert response.status_code == 200
    names = {family.name for family in text_string_to_metric_families(response.text) if family.samples}
    assert [name for name in names if name.startswith("heliograph_")]


@pytest.mark.parametrize("service", RUNNING)
async def test_a_service_is_confined_as_its_manifest_declares(node: RunningNode, service: str) -> None:
    process = Path(f"/proc/{node.containers[service].service_pid}")
    status = status_of(process)
    context = {**DECLARED[service].pod["securityContext"], **DECLARED[service].spec["securityContext"]}

    assert status["Uid"] == [str(context["runAsUser"])] * 4
    assert status["Gid"] == [str(context["runAsGroup"])] * 4
    for kind in ("CapBnd", "CapEff", "CapInh", "CapPrm", "CapAmb"):
        assert int(status[kind][0], 16) == 0, kind
    assert status["NoNewPrivs"] == ["1"]
    with pytest.raises(OSError, match="Read-only file system"):
        os.open(f"{process}/root/opt/heliograph/new", os.O_CREAT)
    assert memory_limit_of(process) == memory_limit_bytes(DECLARED[service])


def status_of(process: Path) -> dict[str, list[str]]:
    lines = (process / "status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def memory_limit_of(process: Path) -> int:
    """The memory limit of a process's control group, version 1 or 2."""
    for line in (process / "cgroup").read_text().splitlines():
        number, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            return int(Path(f"/sys/fs/cgroup/memory{group}/memory.limit_in_bytes").read_text())
        unified = Path(f"/sys/fs/cgroup{group}/memory.max")
        if number == "0" and unified.exists():
            return int(unified.read_text())
    raise AssertionError(f"no memory limit for {process}")


async def test_together_the_services_serve_what_containerd_holds(node: RunningNode) -> None:
    image = (await node.containerd.store.images())[HELD]
    url = f"{node.registry}/v2/mirror/router"

    # By tag, which the registry reads from the state file that the indexer has written.
    async def manifest() -> httpx.Response | None:
        response = await answer(f"{url}/manifests/test?ns=registry.example")
        return response if response is not None and response.status_code == 200 else None

    by_tag = await eventually(manifest, 30, node.containers["registry"].tail, interval=0.1)
    assert by_tag is not None
    assert digest_of(by_tag) == image.target.digest
    layer = by_tag.json()["layers"][-1]["digest"]
    by_digest = await answer(f"{url}/blobs/{layer}?ns=registry.example")
    assert by_digest is not None
    assert by_digest.headers["heliograph-source"] == "local"
    assert digest_of(by_digest) == layer

    async with grpc.aio.insecure_channel(node.router) as channel:

        async def known() -> bool:
            request = pb.ResolveRequest(keys=[pb.Key(digest=layer)], max_peers=1, node="outsider")
            resolved = await ResolverStub(channel).Resolve(request, timeout=5)
            return [peer.node for peer in resolved.resolutions[0].peers] == ["node-1"]

        await eventually(known, 30, node.containers["indexer"].tail, interval=0.1)


def digest_of(response: httpx.Response) -> str:
    return f"sha256:{hashlib.sha256(response.content).hexdigest()}"


async def test_the_configurator_sets_up_a_node_and_restores_it(
    images: Mapping[str, Image], tmp_path: Path
) -> None:
    certs = tmp_path / "certs.d"
    certs.mkdir()
    for command, left in (("apply", ["_default/hosts.toml"]), ("cleanup", [])):
        container = Container(
            images["configurator"],
            DECLARED["configurator"],
            tmp_path / command,
            volumes={"certs-d": certs},
            environment={},
            arguments=[command],
        )
        container.start()
        assert await container.ended(60) == 0, container.tail()
        found = [os.fspath(path.relative_to(certs)) for path in certs.glob("*/hosts.toml")]
        assert found == left, container.tail()
        assert all("http://127.0.0.1:5000" in (certs / name).read_text() for name in found)


async def test_a_container_stops_on_sigterm(node: RunningNode) -> None:
    """Must be the last test, because it stops everything."""
    for container in node.containers.values():
        await container.stop(grace=45)
        assert container.returncode == 0, container.tail()
