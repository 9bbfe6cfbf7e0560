"""Label values are bounded whatever requests name, and answers from the manifest cache are counted."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.adapters.metrics import OTHER, UNKNOWN, BoundedLabels, RegistryMetrics
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import NOBODY, FromPeer

MISSED: dict[str, Any] = {
    "kind": "blob",
    "from_peer": False,
    "source": NOBODY,
    "outcome": "missed",
    "reason": Reason.NOT_FOUND,
    "sent_bytes": 100,
    "resumes": 0,
    "resumed_bytes": 0,
    "first_byte_s": 0.01,
    "seconds": 0.02,
}


def samples(metrics: RegistryMetrics, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in metrics.collected.collect()
        for sample in family.samples
        if sample.name == name
    }


@given(st.lists(st.none() | st.text(max_size=3)), st.integers(1, 5))
def test_at_most_so_many_values_become_labels(named: list[str | None], most: int) -> None:
    bounded = BoundedLabels(most)
    labels = {name: bounded.label(name) for name in named}
    assert len(set(labels.values()) - {OTHER, UNKNOWN}) <= most
    for name in list(dict.fromkeys(named))[:most]:
        assert bounded.label(name) == (name or UNKNOWN)


def test_the_first_fifty_registries_have_series_of_their_own() -> None:
    metrics = RegistryMetrics()
    for number in range(200):
        metrics.record(registry=f"{number}.test", **MISSED)
        metrics.cached_answers(f"{number}.test")[0].count += 1
    counted = samples(metrics, "heliograph_registry_requests_total")
    assert {labels[0] for labels in counted} == {*(f"{number}.test" for number in range(50)), OTHER}
    assert counted[OTHER, "blob", "client", "missed", "not-found"] == 150
    assert counted[OTHER, "manifest", "client", "local", "none"] == 150


def test_filtered_registries_take_none_of_the_fifty_labels() -> None:
    metrics = RegistryMetrics()
    for number in range(60):
        metrics.record(registry=f"{number}.test", **{**MISSED, "reason": Reason.FILTERED})
    metrics.record(registry="reg.test", **MISSED)
    metrics.record(registry="reg.test", **{**MISSED, "reason": Reason.FILTERED})
    counted = samples(metrics, "heliograph_registry_requests_total")
    assert counted == {
        (OTHER, "blob", "client", "missed", "filtered"): 60,
        ("reg.test", "blob", "client", "missed", "not-found"): 1,
        ("reg.test", "blob", "client", "missed", "filtered"): 1,
    }


def test_answers_from_the_cache_are_counted_once_when_metrics_are_collected() -> None:
    metrics = RegistryMetrics()
    to_clients, to_peers = metrics.cached_answers("reg.test")
    for counted, times in ((to_clients, 3), (to_peers, 2)):
        counted.count += times
        counted.sent_bytes += 10 * times
    for _ in range(2):
        requests = samples(metrics, "heliograph_registry_requests_total")
        assert requests["reg.test", "manifest", "client", "local", "none"] == 3
        assert requests["reg.test", "manifest", "peer", "local", "none"] == 2
    assert samples(metrics, "heliograph_registry_sent_bytes_total") == {
        ("client", "local"): 30,
        ("peer", "local"): 20,
    }


def test_bytes_from_the_peer_that_resumed_are_counted_separately() -> None:
    metrics = RegistryMetrics()
    for _ in range(2):
        resumed = {
            "sent_bytes": 1000,
            "resumes": 2,
            "resumed_bytes": 600,
            "source": FromPeer("a"),
            "outcome": "peer",
        }
        metrics.record(registry=None, **{**MISSED, **resumed})
    assert samples(metrics, "heliograph_registry_sent_bytes_total") == {
        ("client", "peer"): 800,
        ("client", "resumed"): 1200,
    }
    assert samples(metrics, "heliograph_registry_resumes_total") == {(): 4}


def test_an_answer_that_never_began_has_no_first_byte() -> None:
    metrics = RegistryMetrics()
    metrics.record(registry=None, **{**MISSED, "first_byte_s": None, "outcome": "abandoned"})
    assert samples(metrics, "heliograph_registry_first_byte_seconds_count") == {("blob", "none"): 0}
    assert samples(metrics, "heliograph_registry_request_seconds_count") == {("blob", "none"): 1}
