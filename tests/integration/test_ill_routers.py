"""Two real routers of which one is ill: a registry serves all that the healthy one knows.

All processes have proxies in their environment, which refuse every connection.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx

from heliograph_shared.digest import Digest, digest_of, hex_of
from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.system import Node, System, running_system
from tests.support.waiting import eventually
from tests.support.wire import Wire, wire

ILL, BLOBS = 1, 24
NO_PROXY_LISTENS = f"http://127.0.0.1:{free_port()}"
PROXIES = dict.fromkeys(
    ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    NO_PROXY_LISTENS,
)


@dataclass
class TwoRouters:
    """`asker` has no content, `holder` all; what is between the second router and its clients or the bus."""

    system: System
    holder: Node
    asker: Node
    layout: Path
    to_clients: Wire
    to_bus: Wire

    async def announce(self) -> dict[Digest, bytes]:
        """Blobs that are new to the healthy router."""
        blobs = {digest_of(data): data for data in (os.urandom(64) for _ in range(BLOBS))}
        for digest, data in blobs.items():
            unfinished = self.layout / "unfinished"
            unfinished.write_bytes(data)
            unfinished.rename(self.layout / "blobs" / "sha256" / hex_of(digest))
        await self.system.announced("holder", *blobs)
        return blobs

    async def misses(self, blobs: dict[Digest, bytes]) -> list[str]:
        """The reasons for which blobs were not served; each is asked for once, by eight clients."""
        left, reasons = list(blobs), list[str]()
        async with httpx.AsyncClient(base_url=self.asker.url, timeout=60, trust_env=False) as http:

            async def client() -> None:
                while left:
                    digest = left.pop()
                    answer = await http.get(f"/v2/team/app/blobs/{digest}?ns=reg.test")
                    if answer.status_code != 200 or answer.content != blobs[digest]:
                        reasons.append(answer.headers.get("heliograph-reason", str(answer.status_code)))

            await asyncio.gather(*(client() for _ in range(8)))
        return reasons

    async def no_misses(self) -> None:
        assert await self.misses(await self.announce()) == []

    async def ill_is_current(self, *, current: bool) -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:

            async def as_wanted() -> bool:
                metrics = (await http.get(f"{self.system.routers[ILL].admin}/metrics")).text
                return f"heliograph_router_current {float(current)}" in metrics

            await eventually(as_wanted, 30, f"the second router does not become current={current}")

    async def ill_knows(self, digest: str) -> pb.ResolveResponse:
        address = f"127.0.0.1:{self.system.routers[ILL].port}"
        async with grpc.aio.insecure_channel(address) as channel:
            request = pb.ResolveRequest(keys=[pb.Key(digest=digest)])
            answer: pb.ResolveResponse = await ResolverStub(channel).Resolve(request, timeout=10)
            return answer


@asynccontextmanager
async def two_routers(directory: Path) -> AsyncIterator[TwoRouters]:
    layout, empty = directory / "layout", directory / "empty"
    for each in (layout, empty):
        (each / "blobs" / "sha256").mkdir(parents=True)
    async with (
        NatsServer(directory) as nats,
        running_system(directory, nats, PROXIES, replicas=2) as system,
        wire(nats.port) as to_bus,
        wire(system.routers[ILL].port) as to_clients,
    ):
        system.routers[ILL].process.environment["HELIOGRAPH_NATS_URL"] = f"nats://127.0.0.1:{to_bus.port}"
        await system.start_router()
        target = f"ipv4:127.0.0.1:{system.routers[0].port},127.0.0.1:{to_clients.port}"
        holder = await system.add_node("holder", layout)
        asker = await system.add_node("asker", empty, environment={"HELIOGRAPH_ROUTER_TARGET": target})
        yield TwoRouters(system, holder, asker, layout, to_clients, to_bus)


async def test_with_one_healthy_router_of_two_nothing_is_missed_because_of_the_other(tmp_path: Path) -> None:
    async with two_routers(tmp_path) as both:
        ill = both.system.routers[ILL].process
        await both.no_misses()

        ill.send(signal.SIGSTOP)
        await both.no_misses()
        ill.send(signal.SIGCONT)

        both.to_clients.delay_s = 4  # longer than a call may take
        await both.no_misses()
        both.to_clients.delay_s = 0

        await both.ill_is_current(current=True)
        both.to_bus.cut()
        await both.ill_is_current(current=False)
        fresh = await both.announce()
        answer = await both.ill_knows(next(iter(fresh)))
        assert (answer.outdated, answer.resolutions[0].status) == (True, pb.NOT_SYNCED)
        assert await both.misses(fresh) == []
        both.to_bus.restore()
        await both.ill_is_current(current=True)

        both.to_bus.silent = True
        await both.ill_is_current(current=False)
        await both.no_misses()
