"""Gathers what the debug page shows of this node and its cluster."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from heliograph_registry.debug.domain.cluster import ClusterNode, ClusterTags
from heliograph_registry.debug.domain.health import Situation, Verdict, verdict
from heliograph_registry.debug.errors import FindingsUnavailable
from heliograph_registry.debug.ports import Doctor, RouterQueries
from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.request_log import LoggedRequest, RequestLog
from heliograph_registry.mirror.errors import ResolverUnavailable
from heliograph_shared.digest import Digest
from heliograph_shared.findings import Report

_JUDGED = 50
_SHOWN_REQUESTS = 50
_FRESH_S = 2.0


class OwnTags(Protocol):
    """What this node's indexer tells of its node."""

    @property
    def tags(self) -> Mapping[str, Digest]: ...

    @property
    def addresses(self) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while the process lives; `started_at` is in seconds since the epoch."""

    node: str
    zone: str
    version: str
    router_target: str
    started_at: float


@dataclass(frozen=True, slots=True)
class Examined:
    """What the doctor of a service says, or why it does not."""

    service: str
    report: Report | None
    silence: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What routers and doctors say; each of them, or why they do not."""

    neighbours: Sequence[ClusterNode]
    no_router: str | None
    remembered: Sequence[Peer]
    asked_last: Mapping[str, float]
    doctors: Sequence[Examined]


@dataclass(frozen=True, slots=True)
class Overview:
    identity: Identity
    addresses: tuple[str, ...]
    unready: str | None
    verdict: Verdict
    around: Surroundings
    requests: tuple[LoggedRequest, ...]
    last_mirrored: LoggedRequest | None
    now: float


@dataclass(frozen=True, slots=True)
class Tags:
    """Those with the text in their reference: of this node with their sum, and of the cluster or why not."""

    own: tuple[tuple[str, Digest], ...]
    own_found: int
    cluster: ClusterTags | None
    no_cluster: str


class Overviews:
    def __init__(
        self,
        identity: Identity,
        *,
        readiness: Callable[[], str | None],
        request_log: RequestLog,
        facts: OwnTags,
        router_queries: RouterQueries,
        doctors: Sequence[Doctor],
        remembered: Callable[[], Sequence[Peer]],
        asked_last: Callable[[], Mapping[str, float]],
    ) -> None:
        self.identity, self.request_log = identity, request_log
        self._readiness, self._facts = readiness, facts
        self._router_queries, self._doctors = router_queries, doctors
        self._remembered, self._asked_last = remembered, asked_last
        self._around: Surroundings | None = None
        self._looked_at = 0.0
        self._looking = asyncio.Lock()

    async def now(self) -> Overview:
        """Routers and doctors are asked at most every 2 s, however many look."""
        around = await self._surroundings()
        now = time.time()
        latest = self.request_log.latest()
        pulls = tuple(islice((entry for entry in latest if entry.is_pull), _JUDGED))
        unready = self._readiness()
        return Overview(
            identity=self.identity,
            addresses=tuple(sorted(self._facts.addresses)),
            unready=unready,
            verdict=verdict(self._situation(around, pulls, unready, now)),
            around=around,
            requests=tuple(latest[:_SHOWN_REQUESTS]),
            last_mirrored=self.request_log.last_mirrored,
            now=now,
        )

    async def tags(self, containing: str, most: int) -> Tags:
        own = sorted(item for item in self._facts.tags.items() if containing in item[0])
        try:
            cluster, no_cluster = await self._router_queries.tags(containing, most), ""
        except ResolverUnavailable as error:
            cluster, no_cluster = None, error.reason
        return Tags(tuple(own[:most]), len(own), cluster, no_cluster)

    def _situation(
        self, around: Surroundings, pulls: Sequence[LoggedRequest], unready: str | None, now: float
    ) -> Situation:
        node = self.identity.node
        reached = [other for other in around.neighbours if other.node != node and other.addresses]
        own = next((other for other in around.neighbours if other.node == node), None)
        return Situation(
            unready=unready,
            no_router=around.no_router,
            listed=own is not None and bool(own.addresses),
            peers=len(reached) if around.no_router is None else len(around.remembered),
            pulls=pulls,
            errors=sum(_errors_in(examined.report) for examined in around.doctors),
            now=now,
            uptime_s=now - self.identity.started_at,
        )

    async def _surroundings(self) -> Surroundings:
        async with self._looking:
            if self._around is None or time.monotonic() - self._looked_at > _FRESH_S:
                self._around = await self._look_around()
                self._looked_at = time.monotonic()
        return self._around

    async def _look_around(self) -> Surroundings:
        (neighbours, no_router), doctors = await asyncio.gather(
            self._nodes(), asyncio.gather(*map(self._examined, self._doctors))
        )
        return Surroundings(neighbours, no_router, self._remembered(), self._asked_last(), doctors)

    async def _nodes(self) -> tuple[Sequence[ClusterNode], str | None]:
        try:
            return await self._router_queries.nodes(), None
        except ResolverUnavailable as error:
            return (), error.reason

    async def _examined(self, doctor: Doctor) -> Examined:
        try:
            return Examined(doctor.service, await doctor.report())
        except FindingsUnavailable as error:
            return Examined(doctor.service, None, error.reason)


def _errors_in(report: Report | None) -> int:
    return sum(finding.severity == "error" for finding in report.findings) if report else 0
