"""Simulates the rollout of a new blob: the routers' own rules, over simulated network links.

One unit of time is the time in which a node's link transfers the blob once. A node that sends to several
receivers divides its link among them, and so does upstream. No clock and no network are used, so thousands
of nodes take seconds.
"""

import heapq
import random
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.report import Result, ratios, result
from heliograph_router.domain.index import Index
from heliograph_router.domain.replica import Replica
from heliograph_router.domain.selection import Selector
from heliograph_router.domain.waiting import Turn, Waiting
from heliograph_shared.digest import Digest

BLOB = Digest(f"sha256:{0:064x}")
UPSTREAM = "upstream"
GOALS, NO_GOALS = ("<= 3.5", "<= 1.1"), ("<= 3.5", "")
_FOREVER_S = 1e9
_DRAWN = 64
_SPREAD_S = 0.05


@dataclass
class SharedLink:
    """The uplink of one source, divided equally among receivers. `left` is the rest of each, at time `at`."""

    rate: float
    left: dict[str, float] = field(default_factory=dict)
    at: float = 0.0
    version: int = 0

    def advance(self, now: float) -> None:
        if self.left:
            sent = (now - self.at) * self.rate / len(self.left)
            self.left = {receiver: left - sent for receiver, left in self.left.items()}
        self.at, self.version = now, self.version + 1

    def next_end(self) -> tuple[float, str]:
        receiver = min(self.left, key=self.left.__getitem__)
        return self.at + max(0.0, self.left[receiver]) * len(self.left) / self.rate, receiver


class Rollout:
    """`routers` replicas. Each knows all copies, but only the nodes that wait at itself.

    `upstream` is its bandwidth in multiples of a node's.
    """

    def __init__(self, nodes: int, routers: int, upstream: float, chance: random.Random) -> None:
        self.now, self.from_upstream = 0.0, 0
        self._index, self._chance = Index(), chance
        self._replicas = {f"n{number}": Replica(f"n{number}", self._index) for number in range(nodes)}
        self._selectors = [Selector(chance.randrange) for _ in range(routers)]
        self._queues = [
            Waiting(self._index, leaders=1, lease_s=_FOREVER_S, on_turn=partial(self._on_turn, router))
            for router in range(routers)
        ]
        self._links = defaultdict[str, SharedLink](lambda: SharedLink(1.0), {UPSTREAM: SharedLink(upstream)})
        self._events: list[tuple[float, int, str, str]] = []

    def run(self) -> tuple[float, int]:
        """Returns when the last node has the blob, and how many nodes took it from upstream."""
        for node in self._replicas:
            heapq.heappush(self._events, (self._chance.uniform(0, _SPREAD_S), 0, "", node))
        while self._events:
            at, version, source, node = heapq.heappop(self._events)
            if not source:
                self.now = at
                self._ask(node)
            elif version == self._links[source].version:
                self.now = at
                self._arrived(source, node)
        return self.now, self.from_upstream

    def _ask(self, node: str) -> None:
        router = self._chance.randrange(len(self._queues))
        turn = self._queues[router].ask(BLOB, node, self.now)
        if turn is not Turn.WAIT:
            self._on_turn(router, BLOB, node, turn)

    def _on_turn(self, router: int, _: Digest, node: str, turn: Turn) -> None:
        self._send(self._holder(router) if turn is Turn.PEERS else UPSTREAM, node)

    def _holder(self, router: int) -> str:
        named = self._index.some_holders(BLOB, _DRAWN, self._chance.randrange)
        holders = [self._replicas[node] for node in named]
        return self._selectors[router].choose(holders, 1, zone="", is_suspect=lambda _: False)[0].node

    def _send(self, source: str, receiver: str) -> None:
        link = self._links[source]
        if receiver in link.left:  # `ask` calls `on_turn` for this node, and then returns the same turn
            return
        self.from_upstream += source == UPSTREAM
        link.advance(self.now)
        link.left[receiver] = 1.0
        self._expect(source, link)

    def _arrived(self, source: str, node: str) -> None:
        link = self._links[source]
        link.advance(self.now)
        del link.left[node]
        if link.left:
            self._expect(source, link)
        self._index.change(node, added={BLOB: 1}, removed=(), tagged={}, untagged=())
        for queue in self._queues:
            queue.changed({BLOB}, self.now)

    def _expect(self, source: str, link: SharedLink) -> None:
        ends, receiver = link.next_end()
        heapq.heappush(self._events, (ends, link.version, source, receiver))


async def rollout(_: Path, runs: int) -> list[Result]:
    """All nodes ask within 0.05 units; compared with all nodes sharing upstream."""
    found = []
    for nodes, upstream, goals in ((8, 1, GOALS), (8, 2, NO_GOALS), (100, 1, GOALS), (5_000, 1, GOALS)):
        alone = nodes / upstream
        for routers in (1, 3):
            seeds = range(max(1, runs // 3))
            ran = [Rollout(nodes, routers, upstream, random.Random(seed)).run() for seed in seeds]
            took, shares = [took for took, _ in ran], [float(share) for _, share in ran]
            name = f"rollout {nodes} nodes, {routers} routers, upstream {upstream} wide:"
            found += [
                result(f"{name} upstream bytes / blob size", shares, "ratio", goals[0]),
                ratios(f"{name} time, on / off", took, [alone] * len(took), goals[1]),
                result(f"{name} time", took, "units"),
            ]
    return found
