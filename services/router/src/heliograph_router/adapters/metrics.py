"""What the router counts, for Prometheus. Every label set is small and fixed; nodes are not labels."""

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
class State:
    """Questions about the moment; they are asked whenever the metrics are read."""

    totals: Callable[[], Totals]
    parked: Callable[[], int]
    frozen: Callable[[], bool]
    ready: Callable[[], bool]
    connected: Callable[[], bool]


class Metrics:
    def __init__(self) -> None:
        self.collected = CollectorRegistry()
        ProcessCollector(registry=self.collected)
        PlatformCollector(registry=self.collected)
        self.heard = dict.fromkeys(("content", "heartbeat", "left", "snapshot"), 0)
        self.collected.register(_Messages(self.heard))
        self.dropped = Counter(
            "heliograph_router_messages_dropped_total",
            "Messages of nodes that changed nothing",
            ["reason"],
            registry=self.collected,
        )
        self.lag = Histogram(
            "heliograph_router_event_lag_seconds",
            "Seconds from when a node sent a change (ce-time, its clock) until it was in the index, 0 to 60, "
            "for one change a millisecond at most",
            registry=self.collected,
            buckets=_LAG_S,
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
        self.bus_reconnects = Counter(
            "heliograph_router_bus_reconnects_total",
            "Times that the lost connection to the bus came back",
            registry=self.collected,
        )
        self.round_trip = Histogram(
            "heliograph_router_bus_round_trip_seconds",
            "Seconds that a message of this router's to itself took; those lost are not in it",
            registry=self.collected,
            buckets=_ROUND_TRIP_S,
        )

    def follow(self, state: State) -> None:
        """Show what `state` says whenever the metrics are read."""
        self.collected.register(_Index(state))


class _Messages(Collector):
    """Plain numbers: to count each message by a `Counter` costs a router a hundredth of its time."""

    def __init__(self, heard: Mapping[str, int]) -> None:
        self._heard = heard

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "heliograph_router_messages", "Messages that nodes sent", labels=["kind"]
        )
        for kind, count in self._heard.items():
            family.add_metric([kind], count)
        yield family


class _Index(Collector):
    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state, totals = self._state, self._state.totals()
        nodes = GaugeMetricFamily("heliograph_router_nodes", "Nodes that are alive", labels=["state"])
        nodes.add_metric(["in_sync"], totals.nodes_in_sync)
        nodes.add_metric(["syncing"], totals.nodes - totals.nodes_in_sync)
        yield nodes
        yield _gauge("heliograph_router_nodes_stale", "Nodes kept though silent", totals.nodes_stale)
        gone = CounterMetricFamily(
            "heliograph_router_nodes_gone",
            "Nodes withdrawn: they left, or their lease ended",
            labels=["reason"],
        )
        gone.add_metric(["left"], totals.left)
        gone.add_metric(["lost"], totals.lost)
        yield gone
        leases = GaugeMetricFamily(
            "heliograph_router_leases",
            "Leases of nodes; they stand still while this router cannot hear, and for a lease after",
            labels=["state"],
        )
        frozen = totals.nodes if state.frozen() else 0
        leases.add_metric(["running"], totals.nodes - frozen)
        leases.add_metric(["frozen"], frozen)
        yield leases
        yield _gauge("heliograph_router_digests", "Distinct digests held", totals.digests)
        yield _gauge("heliograph_router_pairs", "Digests held, once a node", totals.pairs)
        yield _gauge("heliograph_router_tags", "Distinct tag references", totals.tags)
        yield _gauge("heliograph_router_calls_waiting", "Resolves that wait for a copy", state.parked())
        yield _gauge(
            "heliograph_router_ready", "1 once it may say of something that nobody has it", state.ready()
        )
        yield _gauge(
            "heliograph_router_bus_connected", "1 while it is connected to the bus", state.connected()
        )


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)
