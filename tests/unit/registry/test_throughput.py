"""Which rate is slow for a node, from what the others delivered; the test passes the time."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.throughput import Throughput

MIB = 1 << 20
UNKNOWN, CEILING = 128 << 10, 512 << 10

rates = st.floats(1, 1e10)


def delivered(
    throughput: Throughput, node: str, bytes_s: float, now: float = 0.0, seconds: float = 2.0
) -> None:
    throughput.begin(node, now)
    throughput.end(node, int(bytes_s * seconds), seconds, now)


def test_without_another_node_only_a_rate_that_is_slow_anywhere_is_slow() -> None:
    throughput = Throughput()
    assert throughput.slow_below("a") == UNKNOWN
    delivered(throughput, "a", 1000)
    assert throughput.slow_below("a") == UNKNOWN


@given(st.lists(rates, min_size=1, max_size=60))
def test_in_a_cluster_of_one_rate_nobody_is_slow(noise: list[float]) -> None:
    """Each node delivers between half and the double of one rate, whatever that rate is."""
    throughput, rate = Throughput(), noise[0]
    for number, part in enumerate(noise):
        delivered(throughput, f"n{number}", rate * (0.5 + part % 1.5))
    assert throughput.slow_below("another") <= max(rate * 2 / 32, 1)


@given(st.lists(st.floats(1 * MIB, 1e10), min_size=1, max_size=60), st.integers(1, 128))
def test_a_node_whose_line_is_shared_is_not_slow(others: list[float], transfers: int) -> None:
    """128 transfers of one node through 1 Gbit/s; each alone is slower than anything that others deliver."""
    throughput = Throughput()
    for number, rate in enumerate(others):
        delivered(throughput, f"n{number}", rate)
    for _ in range(transfers):
        throughput.begin("shared", 0.0)
    assert throughput.slow_below("shared") * transfers <= CEILING
    assert throughput.slow_below("shared") < 125_000_000 / transfers


@given(st.lists(st.floats(32 * MIB, 1e10), min_size=1, max_size=60))
def test_a_node_that_drips_beside_fast_ones_is_slow(others: list[float]) -> None:
    throughput = Throughput()
    for number, rate in enumerate(others):
        delivered(throughput, f"n{number}", rate)
    delivered(throughput, "drips", 1200)
    assert throughput.slow_below("drips") == CEILING
    assert throughput.slow_below("another") >= 1200 / 32


def test_rates_are_forgotten_and_bounded() -> None:
    throughput = Throughput()
    for number in range(200):
        delivered(throughput, f"n{number}", 1000 if number < 100 else 10_000)
    assert throughput.slow_below("another") == 10_000 / 32
    throughput.begin("another", 121.0)
    assert throughput.slow_below("another") == UNKNOWN


def test_a_small_quick_delivery_says_nothing() -> None:
    throughput = Throughput()
    delivered(throughput, "a", 10_000, seconds=0.1)
    assert throughput.slow_below("b") == UNKNOWN


def test_a_delivery_that_ended_no_longer_shares_the_line() -> None:
    throughput = Throughput()
    for _ in range(4):
        throughput.begin("a", 0.0)
    assert throughput.slow_below("a") == UNKNOWN / 4
    for _ in range(4):
        throughput.end("a", 1, 0.1, 0.0)
    assert throughput.slow_below("a") == UNKNOWN
