"""The registry's process: readiness, metrics, shutdown, and clients that leave."""

import asyncio
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from heliograph_shared.digest import digest_of
from tests.integration.registry_support import (
    BLOB,
    BLOB_DIGEST,
    BLOB_PATH,
    MANIFEST,
    MANIFEST_PATH,
    Cluster,
    Registry,
)
from tests.support.bad_peer import Exchange
from tests.support.waiting import eventually


async def test_a_registry_is_ready_if_its_store_is_readable_whatever_the_routers_do(cluster: Cluster) -> None:
    cluster.known.hangs = True
    node = await cluster.registry("node")
    assert (await node.http.get(f"{node.admin}/readyz")).status_code == 200
    (node.directory / "blobs").rename(node.directory / "no-blob-yet")
    assert (await node.http.get(f"{node.admin}/readyz")).status_code == 200


async def test_a_store_that_does_not_exist_yet_is_ready_and_one_that_disappeared_is_not(
    cluster: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "created-by-the-first-blob"
    node = await cluster.registry("a", content_path=store)
    assert (await node.http.get(f"{node.admin}/readyz")).status_code == 200
    (store / "blobs").mkdir(parents=True)
    assert (await node.http.get(f"{node.admin}/readyz")).status_code == 200
    store.rename(tmp_path / "gone")
    answer = await node.http.get(f"{node.admin}/readyz")
    assert (answer.status_code, answer.text) == (503, f"not ready: {store}: not there\n")


async def test_metrics_count_sources_of_bytes_and_reasons_of_misses(cluster: Cluster) -> None:
    seed, node = await cluster.registry("seed"), await cluster.registry("node", registry_filters="/secret/")
    cluster.holds(seed, BLOB)
    digest = node.put(MANIFEST)
    for path in (
        BLOB_PATH,
        MANIFEST_PATH,  # cached, then served twice from the cache
        MANIFEST_PATH,
        MANIFEST_PATH,
        f"/v2/x/secret/y/blobs/{BLOB_DIGEST}?ns=reg.test",
        f"/v2/app/blobs/{digest_of(b'nowhere')}?ns=other.test",
        f"/v2/app/manifests/{digest}",
    ):
        await node.http.get(path)
    await node.http.get(MANIFEST_PATH, headers={"heliograph-peer": "seed"})
    requests = await counted(node, "heliograph_registry_requests_total")
    assert requests == {
        ("blob", "peer", "none", "reg.test", "client"): 1,
        ("manifest", "local", "none", "reg.test", "client"): 3,
        ("manifest", "local", "none", "reg.test", "peer"): 1,
        ("manifest", "local", "none", "unknown", "client"): 1,
        ("blob", "missed", "filtered", "reg.test", "client"): 1,
        ("blob", "missed", "not-found", "other.test", "client"): 1,
    }
    sent = await counted(node, "heliograph_registry_sent_bytes_total")
    assert sent["client", "peer"] == len(BLOB)
    assert sent["client", "local"] == 4 * len(MANIFEST)
    assert sent["peer", "local"] == len(MANIFEST)
    assert (await counted(seed, "heliograph_registry_sent_bytes_total"))["peer", "local"] == len(BLOB)
    first_bytes = await counted(node, "heliograph_registry_first_byte_seconds_count")
    assert first_bytes == {("blob", "peer"): 1, ("blob", "none"): 2, ("manifest", "local"): 2}
    assert await counted(node, "heliograph_registry_resolve_seconds_count") == {
        ("answered",): 2,
        ("waited",): 0,
        ("failed",): 0,
    }
    assert (await counted(node, "heliograph_registry_peer_requests_total"))["answered",] == 1
    assert await counted(node, "heliograph_registry_transfers_limit") == {(): 128}


async def test_metrics_count_running_transfers(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    digest = node.put(bytes(64 << 20))
    async with node.http.stream("GET", f"/v2/app/blobs/{digest}") as answer:
        chunks = answer.aiter_bytes()
        await anext(chunks)
        assert await counted(node, "heliograph_registry_transfers") == {("client",): 1, ("peer",): 0}
        async for _ in chunks:
            pass

    async def none_left() -> bool:
        return await counted(node, "heliograph_registry_transfers") == {("client",): 0, ("peer",): 0}

    await eventually(none_left)


async def counted(node: Registry, name: str) -> dict[tuple[str, ...], float]:
    """Values of that metric, by the values of its labels in the order of the labels' names."""
    families = text_string_to_metric_families((await node.http.get(f"{node.admin}/metrics")).text)
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in found}


async def test_a_running_transfer_is_finished_on_shutdown(cluster: Cluster) -> None:
    node = await cluster.registry("node")
    big = bytes(64 << 20)
    digest = node.put(big)
    async with node.http.stream("GET", f"/v2/app/blobs/{digest}") as answer:
        chunks = answer.aiter_bytes()
        received = len(await anext(chunks))
        node.stop.set()
        async for chunk in chunks:
            received += len(chunk)
    assert received == len(big)

    async def refuses() -> bool:
        try:
            await node.http.get("/v2/")
        except httpx.TransportError:
            return True
        return False

    await eventually(refuses)


async def test_a_client_that_disconnects_ends_its_transfer(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph_registry.adapters.http_server.protocol._SILENT_HALF_CLOSED_S", 0.2)
    abandoned = asyncio.Event()

    async def goes_quiet(exchange: Exchange) -> None:
        await exchange.begin(BLOB_DIGEST, len(BLOB))
        await exchange.send(BLOB[:1000])
        await exchange.abandoned()
        abandoned.set()

    await cluster.peer(goes_quiet, "peer")
    node = await cluster.registry("node", peer_stall_timeout_s=120)
    async with node.http.stream("GET", BLOB_PATH) as answer:
        await anext(answer.aiter_bytes())
    async with asyncio.timeout(20):
        await abandoned.wait()
