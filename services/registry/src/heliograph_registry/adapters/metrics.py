"""What the registry counts, for Prometheus. Every label set is small and fixed; nodes are not labels."""

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
        self._registries = FirstSeen(_MOST_REGISTRIES)
        self._at_once: dict[str, tuple[AtOnce, AtOnce]] = {}
        self.collected.register(_Before(self._count_at_once))
        ProcessCollector(registry=self.collected)
        PlatformCollector(registry=self.collected)
        self._requests = Counter(
            "heliograph_registry_requests_total",
            "Requests answered, by whose image it was, what came of it, and why not",
            ["registry", "kind", "asker", "outcome", "reason"],
            registry=self.collected,
        )
        self._sent_bytes = Counter(
            "heliograph_registry_sent_bytes_total",
            "Body bytes sent, by where they came from; those to clients did not come from upstream",
            ["asker", "source"],
            registry=self.collected,
        )
        self._first_byte = Histogram(
            "heliograph_registry_first_byte_seconds",
            "Seconds until an answer began, those left out that were answered from memory",
            ["kind", "source"],
            registry=self.collected,
            buckets=_FIRST_BYTE_S,
        )
        self._seconds = Histogram(
            "heliograph_registry_request_seconds",
            "Seconds until a request was answered in full, those left out that were answered from memory",
            ["kind", "source"],
            registry=self.collected,
            buckets=_REQUEST_S,
        )
        self.resolve = Histogram(
            "heliograph_registry_resolve_seconds",
            "Seconds that a call to the routers took",
            ["outcome"],
            registry=self.collected,
            buckets=_RESOLVE_S,
        )
        self.resolves_skipped = Counter(
            "heliograph_registry_resolves_skipped_total",
            "Calls to the routers that were left out, because one had just failed",
            registry=self.collected,
        )
        self.peer_requests = Counter(
            "heliograph_registry_peer_requests_total",
            "Requests to the registries of other nodes, by what came of their first bytes",
            ["outcome"],
            registry=self.collected,
        )
        self._resumes = Counter(
            "heliograph_registry_resumes_total",
            "ManifestCache that went on at another peer, after one had broken off",
            registry=self.collected,
        )
        self.verified = Counter(
            "heliograph_registry_verified_blobs_total",
            "Blobs that were hashed before they were sent, because they were asked for again",
            ["outcome"],
            registry=self.collected,
        )
        self._transfers = Gauge(
            "heliograph_registry_transfers", "Blobs that are being sent", ["asker"], registry=self.collected
        )
        self._most_transfers = Gauge(
            "heliograph_registry_transfers_limit",
            "Blobs that may be sent at once to each kind of asker, 503 beyond",
            registry=self.collected,
        )
        # Looking series up by their labels takes longer than to count in them.
        self._counted = cache(self._requests.labels)
        self._sent_to = cache(self._sent_bytes.labels)
        self._timed = cache(lambda *labels: (self._first_byte.labels(*labels), self._seconds.labels(*labels)))

    def follow(self, to_clients: Callable[[], float], to_peers: Callable[[], float], *, most: int) -> None:
        """Show what these say of blobs that are being sent, whenever the metrics are read."""
        self._transfers.labels(_asker(from_peer=False)).set_function(to_clients)
        self._transfers.labels(_asker(from_peer=True)).set_function(to_peers)
        self._most_transfers.set(most)

    def at_once(self, registry: str | None) -> tuple["AtOnce", "AtOnce"]:
        """Where to count this node's manifests that are answered from memory, to clients and to peers."""
        return self._at_once.setdefault(self._registries.label(registry), (AtOnce(), AtOnce()))

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
        """`resumes`: how often another peer went on; `resumed_bytes`: those of `sent_bytes` that came so.

        `reason` is None for what was served, `first_byte_s` where no answer began.
        """
        asker, place = _asker(from_peer=from_peer), source.kind
        whose = self._registries.label(registry, new=reason is not Reason.FILTERED)
        self._counted(whose, kind, asker, outcome, reason.value if reason else _NO_REASON).inc()
        first_byte, took = self._timed(kind, place)
        took.observe(seconds)
        if first_byte_s is not None:
            first_byte.observe(first_byte_s)
        self._sent_to(asker, place).inc(sent_bytes - resumed_bytes)
        if resumes:
            self._resumes.inc(resumes)
            self._sent_to(asker, _RESUMED).inc(resumed_bytes)

    def _count_at_once(self) -> None:
        for registry, kinds in self._at_once.items():
            for from_peer, waiting in zip((False, True), kinds, strict=True):
                if waiting.count:
                    asker = _asker(from_peer=from_peer)
                    self._counted(registry, "manifest", asker, LOCAL.kind, _NO_REASON).inc(waiting.count)
                    self._sent_to(asker, LOCAL.kind).inc(waiting.sent_bytes)
                    waiting.count = waiting.sent_bytes = 0


class AtOnce:
    """Answers from the manifest cache, added to the counters only when the metrics are read."""

    __slots__ = ("count", "sent_bytes")

    def __init__(self) -> None:
        self.count = self.sent_bytes = 0


class FirstSeen:
    """The first `most` values as they are, `other` for all that come later: anyone may name a registry."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[str | None] = set()

    def label(self, value: str | None, *, new: bool = True) -> str:
        """Unless `new`, only those that have been seen before are told apart."""
        if value not in self._seen:
            if not new or len(self._seen) >= self._most:
                return OTHER
            self._seen.add(value)
        return value or UNKNOWN


class _Before(Collector):
    """Has something done before the metrics are collected; the first to be registered is asked first."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        self._act()
        return ()


def _asker(*, from_peer: bool) -> str:
    return "peer" if from_peer else "client"
