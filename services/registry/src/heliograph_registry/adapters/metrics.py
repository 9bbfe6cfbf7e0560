"""What the registry counts, for Prometheus. Every label set is small and fixed; nodes are not labels."""

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector


class Metrics:
    def __init__(self) -> None:
        self.collected = CollectorRegistry()
        ProcessCollector(registry=self.collected)
        PlatformCollector(registry=self.collected)
        self._requests = Counter(
            "heliograph_registry_requests_total",
            "Requests answered",
            ["kind", "source", "status"],
            registry=self.collected,
        )
        self._bytes = Counter(
            "heliograph_registry_sent_bytes_total", "Body bytes sent", ["source"], registry=self.collected
        )
        self._seconds = Histogram(
            "heliograph_registry_request_seconds",
            "Seconds until a request was answered in full",
            ["kind", "source"],
            registry=self.collected,
            buckets=(0.001, 0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 30, 100),
        )

    def record(self, *, kind: str, source: str, status: int, sent_bytes: int, seconds: float) -> None:
        place = source.partition("/")[0]
        self._requests.labels(kind, place, str(status)).inc()
        self._bytes.labels(place).inc(sent_bytes)
        self._seconds.labels(kind, place).observe(seconds)
