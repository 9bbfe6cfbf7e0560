"""What the router counts, for Prometheus. Every label set is small and fixed; nodes are not labels."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from heliograph_router.domain.cluster import Totals


class Metrics:
    def __init__(self) -> None:
        self.collected = CollectorRegistry()
        ProcessCollector(registry=self.collected)
        PlatformCollector(registry=self.collected)
        self.messages = Counter(
            "heliograph_router_messages_total",
            "Messages that nodes sent",
            ["kind"],
            registry=self.collected,
        )
        self.dropped = Counter(
            "heliograph_router_messages_dropped_total",
            "Messages of nodes that changed nothing",
            ["reason"],
            registry=self.collected,
        )
        self.snapshots = Counter(
            "heliograph_router_snapshots_total",
            "Snapshots asked for",
            ["outcome"],
            registry=self.collected,
        )
        self.resolves = Counter(
            "heliograph_router_resolves_total", "Keys resolved", ["status"], registry=self.collected
        )

    def follow(self, totals: Callable[[], Totals], parked: Callable[[], int]) -> None:
        """Show what `totals` and `parked`, calls that wait, say whenever the metrics are read."""
        self.collected.register(_Index(totals, parked))


class _Index(Collector):
    def __init__(self, totals: Callable[[], Totals], parked: Callable[[], int]) -> None:
        self._totals, self._parked = totals, parked

    def collect(self) -> Iterator[GaugeMetricFamily]:
        totals = self._totals()
        nodes = GaugeMetricFamily("heliograph_router_nodes", "Nodes that are alive", labels=["state"])
        nodes.add_metric(["in_sync"], totals.nodes_in_sync)
        nodes.add_metric(["syncing"], totals.nodes - totals.nodes_in_sync)
        yield nodes
        yield GaugeMetricFamily(
            "heliograph_router_nodes_stale", "Nodes kept though silent", value=totals.nodes_stale
        )
        yield GaugeMetricFamily("heliograph_router_digests", "Distinct digests held", value=totals.digests)
        yield GaugeMetricFamily("heliograph_router_pairs", "Digests held, once a node", value=totals.pairs)
        yield GaugeMetricFamily("heliograph_router_tags", "Distinct tag references", value=totals.tags)
        yield GaugeMetricFamily(
            "heliograph_router_calls_waiting", "Resolves that wait for a copy", value=self._parked()
        )
