"""A real router and a real bus with many simulated nodes, which change all the time and can fail."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

import grpc

from heliograph_shared.digest import digest_of
from tests.integration.router_support import (
    LEASE_S,
    BusNode,
    RouterProcess,
    living_node,
    router_process,
)
from tests.support.nats import NatsServer

DIGESTS = [digest_of(f"chaos {number}".encode()) for number in range(80)]
_EACH = 30
_CHANGE_S = 0.005
GRACE_S = 8.0


class Chaos:
    """`living` are the nodes that the router should know. A node removed from it keeps running."""

    def __init__(self, nats: NatsServer, router: RouterProcess, nodes: Sequence[BusNode]) -> None:
        self.nats, self.router, self.nodes = nats, router, nodes
        self.living = set(range(len(nodes)))
        self.lost_share = 0.0
        self._random = random.Random(len(nodes))

    @asynccontextmanager
    async def churn(self) -> AsyncIterator[None]:
        """While the body runs, nodes gain and lose content. The share `lost_share` of deltas is lost."""
        changes = asyncio.create_task(self._change())
        try:
            yield
        finally:
            changes.cancel()
            with suppress(asyncio.CancelledError):
                await changes

    async def converges(self, within_s: float) -> None:
        """Wait until the router names exactly the living nodes that hold each digest."""
        ends_s, wrong = monotonic() + within_s, "nothing was answered"
        while monotonic() < ends_s:
            with suppress(grpc.aio.AioRpcError):
                wrong = await self.wrong()
                if not wrong:
                    return
            await asyncio.sleep(0.05)
        raise AssertionError(f"after {within_s} s: {wrong}\n{self.router.log[-2000:]}")

    async def wrong(self) -> str:
        """Describes where the router's answers differ from what the nodes hold; empty if nowhere."""
        answers = await self.router.ask(*DIGESTS, max_peers=len(self.nodes))
        differences = []
        for digest, answer in zip(DIGESTS, answers, strict=True):
            named = {peer.node for peer in answer.peers}
            holding = {self.nodes[one].name for one in self.living if digest in self.nodes[one].content}
            if named != holding:
                differences.append(f"{digest[:12]} +{sorted(named - holding)} -{sorted(holding - named)}")
        return f"{len(differences)} digests, such as {differences[:3]}" if differences else ""

    def lose(self, *numbers: int) -> None:
        """These nodes publish nothing from now on."""
        for number in numbers:
            self.nodes[number].mute = True
            self.living.discard(number)

    async def restart(self, number: int, *, ahead_s: float = 0) -> None:
        """Restart the node with other content and a clock that is `ahead_s` fast."""
        content = self._random.sample(DIGESTS, _EACH)
        await self.nodes[number].restart(content, ahead_s=ahead_s)

    async def _change(self) -> None:
        while True:
            await asyncio.sleep(_CHANGE_S)
            node = self._random.choice([node for node in self.nodes if not node.mute])
            digest = self._random.choice(DIGESTS)
            lost = self._random.random() < self.lost_share
            gains, loses = ([], [digest]) if digest in node.content else ([digest], [])
            await node.change(add=gains, remove=loses, lost=lost)


@asynccontextmanager
async def chaos(directory: Path, nats: NatsServer, count: int) -> AsyncIterator[Chaos]:
    """The router knows every node and everything they hold."""
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(router_process(directory, nats.url))
        await router.start()
        nodes = await asyncio.gather(
            *(stack.enter_async_context(living_node(nats.url, f"n{number}")) for number in range(count))
        )
        made = Chaos(nats, router, nodes)
        for number, node in enumerate(nodes):
            await node.change(add=random.Random(number).sample(DIGESTS, _EACH))
        await made.converges(LEASE_S + GRACE_S)
        yield made
