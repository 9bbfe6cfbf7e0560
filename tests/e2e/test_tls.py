"""A cluster in which everything is encrypted and known by name, pulled through by real containerds.

A TLS stream that is cut off by a SIGKILL has no goodbye: containerd must take that for an end to resume from.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from heliograph_cli.credentials import ClientTls
from heliograph_cli.doctor import examine_router
from heliograph_shared.rpc.credentials import Material, channel_credentials
from heliograph_shared.tls import TlsFiles
from tests.e2e.cluster_support import MIB, Cluster, held_at, holds, logged
from tests.e2e.conftest import ContainerdFactory
from tests.integration.cli_support import heliograph, started
from tests.support.certificates import Authority, Identity
from tests.support.containerd import Containerd
from tests.support.images import Image, make_image, push
from tests.support.machines import SERIES, absent
from tests.support.nats import NatsServer
from tests.support.system import Node, running_system
from tests.support.upstream import Upstream
from tests.unit.deploy.manifests import default
from tests.unit.deploy.mounted import bus_config

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

LAYER_BYTES = 24 * MIB


@dataclass
class Secured:
    """`identity` is what every service shows, and containerd."""

    cluster: Cluster
    identity: Identity

    async def add(self, name: str, series: str) -> tuple[Node, Containerd]:
        daemon = await self.cluster._factory(series)
        node = await self.cluster.system.add_node(name, daemon.content_path, daemon)
        trust(daemon, node, self.identity, self.cluster.upstream.url)
        return node, daemon


def trust(daemon: Containerd, node: Node, identity: Identity, upstream: str) -> None:
    """Point containerd at its mirror as an operator would."""
    folder = daemon.certs_path / "reg.test"
    folder.mkdir(exist_ok=True)
    (folder / "hosts.toml").write_text(
        f'server = "{upstream}"\n'
        f'[host."https://127.0.0.1:{node.port}"]\n'
        '  capabilities = ["pull", "resolve"]\n'
        f'  ca = "{identity.ca}"\n'
        f'  client = [["{identity.certificate}", "{identity.key}"]]\n'
    )


def guarded(directory: Path, identity: Identity) -> NatsServer:
    """With the users and permissions of the deployed one."""
    bus_config(default(), directory)
    tls = f'cert_file: "{identity.certificate}", key_file: "{identity.key}", ca_file: "{identity.ca}"'
    config = directory / "nats.conf"
    config.write_text(f"tls {{ {tls}, verify: true }}\ninclude authorization.conf\n")
    return NatsServer(directory, arguments=["-c", config], scheme="tls")


@pytest.fixture
async def secured(
    tmp_path: Path, containerd: ContainerdFactory, upstream: Upstream
) -> AsyncIterator[Secured]:
    identity = Authority().issue(tmp_path / "tls")
    user_of = {role: tmp_path / "users" / role for role in ("indexer", "router")}
    shown = Material(identity.certificate.read_bytes(), identity.key.read_bytes(), identity.ca.read_bytes())
    async with (
        guarded(tmp_path, identity) as nats,
        running_system(
            tmp_path,
            nats,
            {**identity.environment, "HELIOGRAPH_TLS_VERIFY_CLIENTS": "true"},
            of_services={role: {"HELIOGRAPH_NATS_USER_FILE": str(file)} for role, file in user_of.items()},
            credentials=channel_credentials(shown),
        ) as system,
    ):
        await system.start_router()
        yield Secured(Cluster(system, containerd, upstream, tmp_path), identity)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    folder = tmp_path_factory.mktemp("tls-images")
    return {
        f"reg.test/team/app:v{seed}": make_image(folder, [LAYER_BYTES, 5000], seed=seed, compress=False)
        for seed in (1, 2)
    }


async def test_pulls_survive_the_death_of_a_peer_and_of_the_mirror_itself(
    secured: Secured, images: dict[str, Image], upstream: Upstream
) -> None:
    cluster = secured.cluster
    (first, one), (second, two) = images.items()
    await push(two, upstream.url, "team/app", "v2")
    peers = list(
        await asyncio.gather(
            *(cluster.add_holder(f"peer-{n}", (one, first), (two, second)) for n in range(2))
        )
    )
    pullers = await asyncio.gather(*(secured.add(f"puller-{series}", series) for series in SERIES))
    await upstream.stop()

    pulls = asyncio.gather(*(daemon.cri.pull(first) for _, daemon in pullers))
    killed = await held_at(LAYER_BYTES // 2, peers, pulls)
    await killed.registry.kill()
    assert await pulls == [one.config.digest] * len(pullers)
    assert all(holds(daemon, one) for _, daemon in pullers)
    assert any(logged(node.registry, "peer failed, going on at another") for node, _ in pullers)

    await upstream.start()
    upstream.forget()
    for node, daemon in pullers:
        pull = asyncio.create_task(daemon.cri.pull(second))
        assert await held_at(LAYER_BYTES // 2, [node], pull) is node
        await node.registry.kill()
        assert await pull == two.config.digest
        assert holds(daemon, two)
    fetched = [r.status for r in upstream.requests() if two.layers[0].digest in r.path]
    assert fetched == [206] * len(pullers)


async def test_a_mirror_that_is_not_believed_is_passed_over_and_the_command_is_let_in(
    secured: Secured, images: dict[str, Image], upstream: Upstream, tmp_path: Path
) -> None:
    reference, image = next(iter(images.items()))
    await push(image, upstream.url, "team/app", "v1")
    foreign = Authority().issue(tmp_path / "foreign")
    peer = await secured.cluster.add_holder("peer", (image, reference))
    for daemon in await asyncio.gather(*(secured.cluster._factory(series) for series in SERIES)):
        trust(daemon, peer, foreign, upstream.url)
        upstream.forget()
        assert await daemon.cri.pull(reference) == image.config.digest
        assert len({request.path for request in upstream.requests()}) > len(image.layers)

    user_file = str(tmp_path / "users" / "reader")
    reader = ["--nats", secured.cluster.system.nats.url, "--nats-user-file", user_file]
    async with started("events", "--json", *reader, environment=secured.identity.environment) as process:
        assert process.stdout is not None
        line = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        assert line["subject"] == "heliograph.v1.node.peer"

    router = f"127.0.0.1:{secured.cluster.system.routers[0].port}"
    environment = {**secured.identity.environment, "HELIOGRAPH_ROUTER_TARGET": router}
    listed, found, pulled = await asyncio.gather(
        heliograph("nodes", environment=environment),
        heliograph("resolve", reference, environment=environment),
        heliograph("pull", reference, "--mirror", f"https://127.0.0.1:{peer.port}", environment=environment),
    )
    files = TlsFiles(secured.identity.certificate, secured.identity.key, secured.identity.ca)
    assert not (await examine_router(router, "peer", ClientTls(files))).findings
    assert (await examine_router(router, "peer")).findings
    assert [row[0] for row in listed.rows("peer")] == ["peer"]
    assert [row[0] for row in found.rows("peer")] == ["peer"]
    assert (pulled.code, pulled.err) == (0, "")
