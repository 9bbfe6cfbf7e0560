"""What this process counts, for Prometheus. Every label set is small and fixed."""

import time
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

from heliograph_indexer.domain.publication import Advertised

_LONGEST_LAG_S = 60.0
_LAG_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)

advertised_images = Gauge(
    "heliograph_indexer_advertised_images", "Manifests with a tag that the bus was told this node holds"
)
advertised_tags = Gauge("heliograph_indexer_advertised_tags", "Tags that the bus was told this node holds")
advertised_digests = Gauge(
    "heliograph_indexer_advertised_digests", "Digests that the bus was told this node holds"
)
advertised_addresses = Gauge(
    "heliograph_indexer_advertised_addresses",
    "Addresses of this node's registry that the bus is told; 0: nobody is sent here",
)
event_lag = Histogram(
    "heliograph_indexer_event_lag_seconds",
    "Seconds until a change in containerd was known here (noticed; without those that a listing finds), and "
    "from then until the bus was told (published), 0 to 60",
    labelnames=["stage"],
    buckets=_LAG_S,
)
published_messages = Counter(
    "heliograph_indexer_published_messages_total", "Messages published on the bus", labelnames=["kind"]
)
dropped_messages = Counter(
    "heliograph_indexer_messages_dropped_total",
    "Messages not published as there was no bus (unsent), or heard and not understood (malformed)",
    labelnames=["reason"],
)
store_resyncs = Counter("heliograph_indexer_store_resyncs_total", "Full listings of the content store")
store_followed = Gauge("heliograph_indexer_store_followed", "1 while the content store is being followed")
bus_connected = Gauge("heliograph_indexer_bus_connected", "1 while this node is connected to the bus")
bus_reconnects = Counter(
    "heliograph_indexer_bus_reconnects_total", "Times that the lost connection to the bus came back"
)

_noticed, _published = event_lag.labels("noticed"), event_lag.labels("published")


def noticed(lag_s: float) -> None:
    """A change of the store is known `lag_s` seconds after it was made."""
    _noticed.observe(min(max(0.0, lag_s), _LONGEST_LAG_S))


def noticed_since(happened_s: float) -> None:
    """As `noticed`, of a change that was made at `happened_s`, seconds since 1970; 0: not known."""
    if happened_s:
        noticed(time.time() - happened_s)


def published(lag_s: float) -> None:
    """The bus is told `lag_s` seconds after the earliest of the changes was known."""
    _published.observe(min(max(0.0, lag_s), _LONGEST_LAG_S))


def follow(
    advertised: Callable[[], Advertised], followed: Callable[[], bool], connected: Callable[[], bool]
) -> None:
    """Show what these say whenever the metrics are read."""
    advertised_images.set_function(lambda: advertised().images)
    advertised_tags.set_function(lambda: advertised().tags)
    advertised_digests.set_function(lambda: advertised().digests)
    advertised_addresses.set_function(lambda: advertised().addresses)
    store_followed.set_function(followed)
    bus_connected.set_function(connected)
