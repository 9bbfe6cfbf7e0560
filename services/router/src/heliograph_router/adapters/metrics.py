"""The router's Prometheus metrics. Every label has a small, fixed set of values; nodes are never labels."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from heliograph_router.domain.cluster import Totals

_LAG_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)
_ROUND_TRIP_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2)


@dataclass(frozen=True, slots=True)
class MetricSources:
    """Functions that return the current state; they are called whenever the metrics are read."""

    totals: Callable[[], Totals]
    shared_names: Callable[[], int]
    parked: Callable[[], int]
    frozen: Callable[[], bool]
    ready: Callable[[], bool]
    current: Callable[[], bool]
    connected: Callable[[], bool]


class RouterMetrics:
    def __init__(self) -> None:
        self.collected = CollectorRegistry()
        ProcessCollector(registry=self.collected)
        PlatformCollector(registry=self.collected)
        self.messages = dict.fromkeys(("content", "heartbeat", "left", "snapshot"), 0)
        self.collected.register(_MessagesCollector(self.messages))
        self.dropped = Counter(
            "heliograph_router_messages_dropped_total",
            "Messages from nodes that were dropped",
            ["reason"],
            registry=self.collected,
        )
        self.lag = Histogram(
            "heliograph_router_event_lag_seconds",
            "Seconds from when a node published a change (ce-time, by its clock) until it was in the index, "
            "capped at 60; at most one change per millisecond is measured",
            registry=self.collected,
            buckets=_LAG_S,
        )
        self.snapshots = Counter(
            "heliograph_router_snapshots_total",
            "Snapshots requested from nodes",
            ["outcome"],
            registry=self.collected,
        )
        self.resolves = Counter(
            "heliograph_router_resolves_total", "Keys answered", ["status"], registry=self.collected
        )
        self.bus_reconnects = Counter(
            "heliograph_router_bus_reconnects_total",
            "Reconnects to the bus after a lost connection",
            registry=self.collected,
        )
        self.round_trip = Histogram(
            "heliograph_router_bus_round_trip_seconds",
            "Seconds that a message from this router to itself took over the bus; lost ones are not counted",
            registry=self.collected,
            buckets=_ROUND_TRIP_S,
        )

    def read_from(self, sources: MetricSources) -> None:
        """Export what `sources` return whenever the metrics are read."""
        self.collected.register(_SourceCollector(sources))


class _MessagesCollector(Collector):
    """Exports plain integers: incrementing a `Counter` for each message takes 1% of a router's time."""

    def __init__(self, messages: Mapping[str, int]) -> None:
        self._messages = messages

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "heliograph_router_messages", "Messages received from nodes", labels=["kind"]
        )
        for kind, count in self._messages.items():
            family.add_metric([kind], count)
        yield family


class _SourceCollector(Collector):
    def __init__(self, sources: MetricSources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        sources, totals = self._sources, self._sources.totals()
        nodes = GaugeMetricFamily("heliograph_router_nodes", "Live nodes", labels=["state"])
        nodes.add_metric(["in_sync"], totals.nodes_in_sync)
        nodes.add_metric(["syncing"], totals.nodes - totals.nodes_in_sync)
        yield nodes
        yield _gauge(
            "heliograph_router_nodes_stale",
            "Nodes kept although their lease has expired, because very many fell silent at once",
            totals.nodes_stale,
        )
        yield _gauge(
            "heliograph_router_shared_node_names",
            "Node names that two indexers use at the same time; only the later one's content is found",
            sources.shared_names(),
        )
        gone = CounterMetricFamily(
            "heliograph_router_nodes_removed",
            "Nodes removed: they left, or their lease expired",
            labels=["reason"],
        )
        gone.add_metric(["left"], totals.left)
        gone.add_metric(["lost"], totals.lost)
        yield gone
        leases = GaugeMetricFamily(
            "heliograph_router_leases",
            "Leases of nodes; frozen while the link to the bus is down, and for one lease after",
            labels=["state"],
        )
        frozen = totals.nodes if sources.frozen() else 0
        leases.add_metric(["running"], totals.nodes - frozen)
        leases.add_metric(["frozen"], frozen)
        yield leases
        yield _gauge("heliograph_router_digests", "Distinct digests that nodes hold", totals.digests)
        yield _gauge("heliograph_router_index_entries", "(digest, node) pairs", totals.pairs)
        yield _gauge("heliograph_router_tags", "Distinct tags that nodes have", totals.tags)
        yield _gauge(
            "heliograph_router_resolves_waiting",
            "Resolve calls that wait for another node to have the content",
            sources.parked(),
        )
        yield _gauge(
            "heliograph_router_ready",
            "1 once the router has learned what the nodes hold; it stays ready without the bus",
            sources.ready(),
        )
        yield _gauge(
            "heliograph_router_current",
            "1 while a miss is authoritative: the router hears the nodes and knows what they hold; at 0 it "
            "answers NOT_SYNCED instead of NOT_FOUND, and registries prefer other replicas",
            sources.current(),
        )
        yield _gauge("heliograph_router_bus_connected", "1 while connected to the bus", sources.connected())


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)
