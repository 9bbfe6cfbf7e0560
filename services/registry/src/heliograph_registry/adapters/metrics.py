"""The registry's Prometheus metrics. The values of every label are few; nodes are no label values."""

from collections.abc import Callable, Iterable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import LOCAL, Source

OTHER, UNKNOWN = "other", "unknown"
_MOST_REGISTRIES = 50
_RESUMED, _NO_REASON = "resumed", "none"
_FIRST_BYTE_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 3, 10, 60, 240)
_REQUEST_S = (0.001, 0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 30, 100)
_RESOLVE_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 10, 60, 240)


class RegistryMetrics:
    def __init__(self) -> None:
        self.collected = CollectorRegistry()
        self._registries = BoundedLabels(_MOST_REGISTRIES)
        self._uncounted: dict[str, tuple[UncountedAnswers, UncountedAnswers]] = {}
        self.collected.register(_BeforeCollection(self._count_cached_answers))
        ProcessCollector(registry=self.collected)
        PlatformCollector(registry=self.collected)
        self._requests = Counter(
            "heliograph_registry_requests_total",
            "Requests answered, by upstream registry, outcome, and reason if not served",
            ["registry", "kind", "requester", "outcome", "reason"],
            registry=self.collected,
        )
        self._sent_bytes = Counter(
            "heliograph_registry_sent_bytes_total",
            "Body bytes sent, by their source; bytes sent to clients were not pulled from upstream",
            ["requester", "source"],
            registry=self.collected,
        )
        self._first_byte = Histogram(
            "heliograph_registry_first_byte_seconds",
            "Seconds until an answer began, without answers from the manifest cache",
            ["kind", "source"],
            registry=self.collected,
            buckets=_FIRST_BYTE_S,
        )
        self._seconds = Histogram(
            "heliograph_registry_request_seconds",
            "Seconds until a request was answered in full, without answers from the manifest cache",
            ["kind", "source"],
            registry=self.collected,
            buckets=_REQUEST_S,
        )
        self.resolve = Histogram(
            "heliograph_registry_resolve_seconds",
            "Seconds a call to the routers took",
            ["outcome"],
            registry=self.collected,
            buckets=_RESOLVE_S,
        )
        self.resolves_skipped = Counter(
            "heliograph_registry_resolves_skipped_total",
            "Calls to the routers that were skipped because calls to all replicas had just failed",
            registry=self.collected,
        )
        self.router_attempts = Counter(
            "heliograph_registry_router_attempts_total",
            "Attempts to ask one router replica; a call is one attempt, or more while a replica is ill",
            ["outcome"],
            registry=self.collected,
        )
        self.peer_requests = Counter(
            "heliograph_registry_peer_requests_total",
            "Requests to other nodes' registries, by outcome up to the first bytes",
            ["outcome"],
            registry=self.collected,
        )
        self._resumes = Counter(
            "heliograph_registry_resumes_total",
            "Times that a blob was resumed at another peer after one had failed or was slow",
            registry=self.collected,
        )
        self.verified = Counter(
            "heliograph_registry_verified_blobs_total",
            "Blobs hashed before they were sent because they were requested again",
            ["outcome"],
            registry=self.collected,
        )
        self._transfers = Gauge(
            "heliograph_registry_transfers", "Blobs being sent now", ["requester"], registry=self.collected
        )
        self._most_transfers = Gauge(
            "heliograph_registry_transfers_limit",
            "Blobs that may be sent at once to peers, and as many to clients; beyond that 503",
            registry=self.collected,
        )
        # Looking up a series by its labels takes longer than counting in it.
        self._requests_by = cache(self._requests.labels)
        self._sent_bytes_by = cache(self._sent_bytes.labels)
        self._times_by = cache(
            lambda *labels: (self._first_byte.labels(*labels), self._seconds.labels(*labels))
        )

    def follow(self, to_clients: Callable[[], float], to_peers: Callable[[], float], *, most: int) -> None:
        """Read the numbers of transfers from these functions whenever the metrics are collected."""
        self._transfers.labels(_requester(from_peer=False)).set_function(to_clients)
        self._transfers.labels(_requester(from_peer=True)).set_function(to_peers)
        self._most_transfers.set(most)

    def cached_answers(self, registry: str | None) -> tuple["UncountedAnswers", "UncountedAnswers"]:
        """Where to count answers from the manifest cache: to clients, and to peers."""
        return self._uncounted.setdefault(
            self._registries.label(registry), (UncountedAnswers(), UncountedAnswers())
        )

    def record(
        self,
        *,
        registry: str | None,
        kind: str,
        from_peer: bool,
        source: Source,
        outcome: str,
        reason: Reason | None,
        sent_bytes: int,
        resumes: int,
        resumed_bytes: int,
        first_byte_s: float | None,
        seconds: float,
    ) -> None:
        """`resumes`: how often another peer resumed; `resumed_bytes`: how many of `sent_bytes` came that way.

        `reason` is None if the request was served, `first_byte_s` is None if no answer began.
        """
        requester, kind_of_source = _requester(from_peer=from_peer), source.kind
        label = self._registries.label(registry, new=reason is not Reason.FILTERED)
        self._requests_by(label, kind, requester, outcome, reason.value if reason else _NO_REASON).inc()
        first_byte, took = self._times_by(kind, kind_of_source)
        took.observe(seconds)
        if first_byte_s is not None:
            first_byte.observe(first_byte_s)
        self._sent_bytes_by(requester, kind_of_source).inc(sent_bytes - resumed_bytes)
        if resumes:
            self._resumes.inc(resumes)
            self._sent_bytes_by(requester, _RESUMED).inc(resumed_bytes)

    def _count_cached_answers(self) -> None:
        for registry, by_requester in self._uncounted.items():
            for from_peer, answers in zip((False, True), by_requester, strict=True):
                if answers.count:
                    requester = _requester(from_peer=from_peer)
                    self._requests_by(registry, "manifest", requester, LOCAL.kind, _NO_REASON).inc(
                        answers.count
                    )
                    self._sent_bytes_by(requester, LOCAL.kind).inc(answers.sent_bytes)
                    answers.count = answers.sent_bytes = 0


class UncountedAnswers:
    """Answers from the manifest cache; they are added to the counters when the metrics are collected."""

    __slots__ = ("count", "sent_bytes")

    def __init__(self) -> None:
        self.count = self.sent_bytes = 0


class BoundedLabels:
    """The first `most` values become label values, all later ones `other`: requests may name any registry."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[str | None] = set()

    def label(self, value: str | None, *, new: bool = True) -> str:
        """The label value. Unless `new`, a value that has not been seen before is `other`."""
        if value not in self._seen:
            if not new or len(self._seen) >= self._most:
                return OTHER
            self._seen.add(value)
        return value or UNKNOWN


class _BeforeCollection(Collector):
    """Calls a function before metrics are collected. It is registered first, so it is collected first."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        self._act()
        return ()


def _requester(*, from_peer: bool) -> str:
    return "peer" if from_peer else "client"
