"""Collects what the debug page shows about this node and its cluster."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from heliograph_registry.debug.domain.cluster import ClusterNode, ClusterTags
from heliograph_registry.debug.domain.health import HealthInputs, Verdict, verdict
from heliograph_registry.debug.errors import FindingsUnavailable
from heliograph_registry.debug.ports import DoctorReports, IndexerState, RouterQueries
from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.request_log import LoggedRequest, RequestLog
from heliograph_registry.mirror.errors import ResolverUnavailable
from heliograph_shared.digest import Digest
from heliograph_shared.findings import Report

_JUDGED_PULLS = 50
_SHOWN_REQUESTS = 50
_FRESH_S = 2.0


@dataclass(frozen=True, slots=True)
class RegistryInfo:
    """What does not change while the process lives; `started_at` is in seconds since the epoch."""

    node: str
    zone: str
    version: str
    router_target: str
    started_at: float


@dataclass(frozen=True, slots=True)
class DoctorResult:
    """The report of a service's doctor; None when it sent none, and then `error` says why."""

    service: str
    report: Report | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster as routers report it, the peers that this node remembers, and its doctors' reports.

    `router_error` says why no router answered, None when one did. `asked_last` has, by node, for how many
    more seconds this node asks a peer only after others.
    """

    nodes: Sequence[ClusterNode]
    router_error: str | None
    remembered: Sequence[Peer]
    asked_last: Mapping[str, float]
    doctors: Sequence[DoctorResult]


@dataclass(frozen=True, slots=True)
class Overview:
    """`unready` says why this registry is not ready, None when it is; `now` is in seconds since the epoch."""

    info: RegistryInfo
    addresses: tuple[str, ...]
    unready: str | None
    verdict: Verdict
    cluster: ClusterStatus
    requests: tuple[LoggedRequest, ...]
    last_mirrored: LoggedRequest | None
    now: float


@dataclass(frozen=True, slots=True)
class TagSearch:
    """The tags that match a search.

    `own` are the first tags of this node, `own_found` the number of all of them. `cluster` is None when no
    router answered, and then `cluster_error` says why.
    """

    own: tuple[tuple[str, Digest], ...]
    own_found: int
    cluster: ClusterTags | None
    cluster_error: str


class Overviews:
    def __init__(
        self,
        info: RegistryInfo,
        *,
        readiness: Callable[[], str | None],
        request_log: RequestLog,
        indexer_state: IndexerState,
        router_queries: RouterQueries,
        doctors: Sequence[DoctorReports],
        remembered: Callable[[], Sequence[Peer]],
        asked_last: Callable[[], Mapping[str, float]],
    ) -> None:
        self.info, self.request_log = info, request_log
        self._readiness, self._indexer_state = readiness, indexer_state
        self._router_queries, self._doctors = router_queries, doctors
        self._remembered, self._asked_last = remembered, asked_last
        self._cluster: ClusterStatus | None = None
        self._queried_at = 0.0
        self._querying = asyncio.Lock()

    async def now(self) -> Overview:
        """Asks routers and doctors at most every 2 s, however many pages are open."""
        cluster = await self._cluster_status()
        now = time.time()
        latest = self.request_log.latest()
        pulls = tuple(islice((entry for entry in latest if entry.is_pull), _JUDGED_PULLS))
        unready = self._readiness()
        return Overview(
            info=self.info,
            addresses=tuple(sorted(self._indexer_state.addresses)),
            unready=unready,
            verdict=verdict(self._health_inputs(cluster, pulls, unready, now)),
            cluster=cluster,
            requests=tuple(latest[:_SHOWN_REQUESTS]),
            last_mirrored=self.request_log.last_mirrored,
            now=now,
        )

    async def tags(self, containing: str, most: int) -> TagSearch:
        """Tags of this node and of the cluster with `containing` in their reference, at most `most` each."""
        own = sorted(item for item in self._indexer_state.tags.items() if containing in item[0])
        try:
            cluster, error = await self._router_queries.tags(containing, most), ""
        except ResolverUnavailable as unavailable:
            cluster, error = None, unavailable.reason
        return TagSearch(tuple(own[:most]), len(own), cluster, error)

    def _health_inputs(
        self, cluster: ClusterStatus, pulls: Sequence[LoggedRequest], unready: str | None, now: float
    ) -> HealthInputs:
        node = self.info.node
        reachable = [other for other in cluster.nodes if other.node != node and other.addresses]
        own = next((other for other in cluster.nodes if other.node == node), None)
        return HealthInputs(
            unready=unready,
            router_error=cluster.router_error,
            listed=own is not None and bool(own.addresses),
            peers=len(reachable) if cluster.router_error is None else len(cluster.remembered),
            pulls=pulls,
            errors=sum(_errors_in(doctor.report) for doctor in cluster.doctors),
            now=now,
            uptime_s=now - self.info.started_at,
            sharing_name=_sharing_name(own),
        )

    async def _cluster_status(self) -> ClusterStatus:
        """The last one, unless it is older than 2 s."""
        async with self._querying:
            if self._cluster is None or time.monotonic() - self._queried_at > _FRESH_S:
                self._cluster = await self._query()
                self._queried_at = time.monotonic()
        return self._cluster

    async def _query(self) -> ClusterStatus:
        (nodes, router_error), doctors = await asyncio.gather(
            self._nodes(), asyncio.gather(*map(self._doctor_result, self._doctors))
        )
        return ClusterStatus(nodes, router_error, self._remembered(), self._asked_last(), doctors)

    async def _nodes(self) -> tuple[Sequence[ClusterNode], str | None]:
        try:
            return await self._router_queries.nodes(), None
        except ResolverUnavailable as error:
            return (), error.reason

    async def _doctor_result(self, doctor: DoctorReports) -> DoctorResult:
        try:
            return DoctorResult(doctor.service, await doctor.latest())
        except FindingsUnavailable as error:
            return DoctorResult(doctor.service, None, error.reason)


def _sharing_name(node: ClusterNode | None) -> tuple[str, ...]:
    if node is None or node.namesake is None:
        return ()
    both = (", ".join(addresses) for addresses in (node.addresses, node.namesake))
    return tuple(addresses or "an unknown address" for addresses in both)


def _errors_in(report: Report | None) -> int:
    return sum(finding.severity == "error" for finding in report.findings) if report else 0
