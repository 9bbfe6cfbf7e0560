"""What this process counts."""

from prometheus_client import Counter, Gauge

advertised_digests = Gauge("heliograph_advertised_digests", "Digests that the bus was told this node holds")
advertised_tags = Gauge("heliograph_advertised_tags", "Tags that the bus was told this node holds")
published_messages = Counter(
    "heliograph_published_messages", "Messages published on the bus", labelnames=["kind"]
)
store_resyncs = Counter("heliograph_store_resyncs", "Full listings of the content store")
