"""Registries that stop while they serve many clients: started transfers are completed."""

import asyncio
import os
import random
from collections.abc import Callable

import httpx

from heliograph_shared.digest import digest_of
from tests.integration.registry_support import Cluster, Registry

PIECE = os.urandom(1 << 20)
BLOBS = {f"/v2/app/blobs/{digest_of(data)}": data for data in (PIECE * (5 + 3 * n) for n in range(6))}


async def test_a_rolling_restart_under_load_breaks_nothing(cluster: Cluster) -> None:
    node = await cluster.registry("node")
    live = [await holder(cluster, f"seed-{number}") for number in range(2)]
    over = asyncio.Event()
    clients = [asyncio.create_task(pulling(lambda: node, over)) for _ in range(3)]
    clients += [asyncio.create_task(pulling(lambda: random.choice(live), over)) for _ in range(3)]
    for number in range(4):
        await asyncio.sleep(0.3)  # some load between restarts
        fresh = await holder(cluster, f"seed-{number + 2}")
        live[number % 2].stop.set()
        live[number % 2] = fresh
    over.set()
    counts = await asyncio.gather(*clients)
    assert all(complete for complete in counts)


async def holder(cluster: Cluster, name: str) -> Registry:
    registry = await cluster.registry(name)
    for data in BLOBS.values():
        cluster.holds(registry, data)
    return registry


async def pulling(choose: Callable[[], Registry], over: asyncio.Event) -> int:
    """Pull until `over` is set. Returns how many pulls were complete; each 200 must send every byte."""
    complete = 0
    while not over.is_set():
        path, data = random.choice(list(BLOBS.items()))
        received = await pulled(choose().address, path)
        if received is not None:
            assert received == data
            complete += 1
    return complete


async def pulled(address: str, path: str) -> bytes | None:
    """The blob; None if it was not served, when containerd would ask its next host."""
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20, trust_env=False) as http:
        try:
            answer = await http.send(http.build_request("GET", path), stream=True)
        except httpx.TransportError:
            return None
        received = await answer.aread()
        assert answer.status_code in {200, 404}
        return received if answer.status_code == 200 else None
