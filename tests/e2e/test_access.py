"""Passwords and limits on the data port, as real containerds of every version meet them."""

import asyncio
from pathlib import Path

import httpx
import pytest

from heliograph_shared.accounts import Account
from tests.e2e.cluster_support import MIB, REFERENCE, Cluster, holds, pushed
from tests.support.containerd import Containerd
from tests.support.machines import SERIES, absent
from tests.support.system import Node
from tests.support.upstream import Upstream

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

ACCOUNT = Account("node", "secret")


def point(daemon: Containerd, node: Node, upstream: str, account: Account | None) -> None:
    """Send containerd to the node's registry with a header, as `hosts.toml` has it."""
    header = (
        f'  [host."{node.url}".header]\n    authorization = ["{account.authorization}"]\n' if account else ""
    )
    folder = daemon.certs_path / "reg.test"
    folder.mkdir(exist_ok=True)
    (folder / "hosts.toml").write_text(
        f'server = "{upstream}"\n[host."{node.url}"]\n  capabilities = ["pull", "resolve"]\n{header}'
    )


async def metric(node: Node, *labels: str) -> float:
    async with httpx.AsyncClient(trust_env=False) as http:
        lines = (await http.get(f"{node.admin}/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if all(label in line for label in labels))


async def test_pulls_with_the_password_need_no_upstream_and_without_it_no_mirror(
    cluster: Cluster, upstream: Upstream, tmp_path: Path
) -> None:
    image = await pushed(tmp_path, upstream, [MIB, 40_000])
    accounts = tmp_path / "accounts"
    accounts.write_text(f"{ACCOUNT.user}:{ACCOUNT.password}\n")
    guarded = {"HELIOGRAPH_BASIC_AUTH_FILE": str(accounts)}
    cluster.system.of_services["registry"] = guarded
    await cluster.add_holder("peer", (image, REFERENCE))
    pullers = [await cluster.add(f"puller-{series}", series) for series in SERIES]

    node, daemon = pullers[0]
    point(daemon, node, upstream.url, None)
    assert await daemon.cri.pull(REFERENCE) == image.config.digest
    assert await metric(node, "requests_total", 'reason="unauthorized"') > 0
    assert await metric(node, "requests_total", 'reason="none"') == 0

    await upstream.stop()
    for node, daemon in pullers[1:]:
        point(daemon, node, upstream.url, ACCOUNT)
        assert await daemon.cri.pull(REFERENCE) == image.config.digest
        assert holds(daemon, image)
        assert await metric(node, "requests_total", 'outcome="peer"') > 0


async def test_a_mirror_that_is_full_fails_no_pull(
    cluster: Cluster, upstream: Upstream, tmp_path: Path
) -> None:
    image = await pushed(tmp_path, upstream, [4 * MIB] * 5)
    cluster.system.of_services["registry"] = {"HELIOGRAPH_MAX_CONNECTIONS": "1"}
    node = await cluster.add_holder("full", (image, REFERENCE))
    daemons = await asyncio.gather(*(cluster._factory(series) for series in SERIES))
    for daemon in daemons:
        point(daemon, node, upstream.url, None)
    await asyncio.gather(*(daemon.cri.pull(REFERENCE) for daemon in daemons))
    assert all(holds(daemon, image) for daemon in daemons)
    assert await metric(node, "heliograph_http_limited_total", 'limit="connections"') > 0
