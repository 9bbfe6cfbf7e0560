"""The indexer's metrics for Prometheus. Every label has a small, fixed set of values."""

import time
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from heliograph_indexer.domain.publication import AdvertisedCounts
from heliograph_shared.findings_publisher import doctor_findings

_MAX_LAG_S = 60.0
_LAG_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


class IndexerMetrics:
    """`collected` is the registry to serve."""

    def __init__(self) -> None:
        self.collected = CollectorRegistry()
        ProcessCollector(registry=self.collected)
        PlatformCollector(registry=self.collected)
        self.collected.register(doctor_findings)
        self._advertised_images = Gauge(
            "heliograph_indexer_advertised_images",
            "Tagged manifests announced on the bus",
            registry=self.collected,
        )
        self._advertised_tags = Gauge(
            "heliograph_indexer_advertised_tags", "Tags announced on the bus", registry=self.collected
        )
        self._advertised_digests = Gauge(
            "heliograph_indexer_advertised_digests", "Digests announced on the bus", registry=self.collected
        )
        self._advertised_addresses = Gauge(
            "heliograph_indexer_advertised_addresses",
            "Addresses of this node's registry announced on the bus; at 0 no peer is sent here",
            registry=self.collected,
        )
        self._withheld_digests = Gauge(
            "heliograph_indexer_withheld_digests",
            "Digests in the content store that are not announced because the registry could not serve them",
            registry=self.collected,
        )
        event_lag = Histogram(
            "heliograph_indexer_event_lag_seconds",
            "Seconds from a change in containerd until the indexer knows it (noticed; without changes found "
            "by a listing), and from then until it is published (published), 0 to 60",
            ["stage"],
            registry=self.collected,
            buckets=_LAG_S,
        )
        self._noticed, self._published = event_lag.labels("noticed"), event_lag.labels("published")
        self.published_messages = Counter(
            "heliograph_indexer_published_messages_total",
            "Messages published on the bus",
            ["kind"],
            registry=self.collected,
        )
        dropped_messages = Counter(
            "heliograph_indexer_messages_dropped_total",
            "Messages that could not be sent (unsent), or were received and are invalid (malformed)",
            ["reason"],
            registry=self.collected,
        )
        self.unsent, self.malformed = dropped_messages.labels("unsent"), dropped_messages.labels("malformed")
        self.store_resyncs = Counter(
            "heliograph_indexer_store_resyncs_total",
            "Full listings of the content store",
            registry=self.collected,
        )
        self._store_watched = Gauge(
            "heliograph_indexer_store_watched",
            "1 while the content store is being watched",
            registry=self.collected,
        )
        self._bus_connected = Gauge(
            "heliograph_indexer_bus_connected", "1 while connected to the bus", registry=self.collected
        )
        self.bus_reconnects = Counter(
            "heliograph_indexer_bus_reconnects_total", "Reconnections to the bus", registry=self.collected
        )

    def noticed(self, lag_s: float) -> None:
        """A change in the store is known `lag_s` seconds after it was made."""
        self._noticed.observe(_bounded(lag_s))

    def noticed_since(self, changed_at_s: float) -> None:
        """As `noticed`, for a change made at `changed_at_s`, seconds since 1970; 0: unknown, not counted."""
        if changed_at_s:
            self.noticed(time.time() - changed_at_s)

    def published(self, lag_s: float) -> None:
        """Changes are published `lag_s` seconds after the earliest of them was known."""
        self._published.observe(_bounded(lag_s))

    def follow(
        self,
        advertised: Callable[[], AdvertisedCounts],
        followed: Callable[[], bool],
        connected: Callable[[], bool],
    ) -> None:
        """Call these whenever the metrics are read, and show what they return."""
        self._advertised_images.set_function(lambda: advertised().images)
        self._advertised_tags.set_function(lambda: advertised().tags)
        self._advertised_digests.set_function(lambda: advertised().digests)
        self._advertised_addresses.set_function(lambda: advertised().addresses)
        self._withheld_digests.set_function(lambda: advertised().withheld)
        self._store_watched.set_function(followed)
        self._bus_connected.set_function(connected)


def _bounded(lag_s: float) -> float:
    return min(max(0.0, lag_s), _MAX_LAG_S)
