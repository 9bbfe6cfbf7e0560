"""The latency from which on a peer counts as slow."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.latency import RecentLatency

seconds = st.floats(0, 10)


def recent() -> RecentLatency:
    return RecentLatency(unknown_s=0.05, least_s=0.01, most_s=0.1)


def test_the_default_is_used_until_there_are_eight_answers() -> None:
    latency = recent()
    for _ in range(7):
        latency.add(0.02)
        assert latency.p90_s == 0.05
    latency.add(0.02)
    assert latency.p90_s == 0.02


@given(st.lists(seconds, min_size=8, max_size=400))
def test_nine_of_ten_recent_answers_were_no_slower(samples: list[float]) -> None:
    latency = RecentLatency(unknown_s=0, least_s=0, most_s=100)
    for sample in samples:
        latency.add(sample)
    recent_ones = samples[-128:]
    assert sum(sample <= latency.p90_s for sample in recent_ones) >= 0.9 * len(recent_ones)
    assert sum(sample < latency.p90_s for sample in recent_ones) <= 0.9 * len(recent_ones)


@given(st.lists(seconds, max_size=50))
def test_it_stays_between_its_bounds(samples: list[float]) -> None:
    latency = recent()
    for sample in samples:
        latency.add(sample)
        assert 0.01 <= latency.p90_s <= 0.1
