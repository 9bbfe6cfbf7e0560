"""Numbers as people read them."""

import pytest

from heliograph_registry.debug.domain.formatting import age, count, duration, joined, short, speed
from heliograph_shared.digest import digest_of


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (90, "2 min"), (7200, "2 h"), (72 * 3600, "3 d")]
)
def test_ages_are_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_durations_counts_lists_speeds_and_digests_are_short() -> None:
    assert [duration(0.0004), duration(0.0123), duration(1.25)] == ["0.4 ms", "12 ms", "1.25 s"]
    assert [count(0, "peer"), count(1, "peer"), count(1200, "peer")] == ["no peers", "1 peer", "1,200 peers"]
    assert [joined([]), joined(["a"]), joined(["a", "b", "c"])] == ["", "a", "a, b and c"]
    assert speed(64 << 20, 2.0) == "32 MiB/s"
    assert speed(10, 0.0) == ""
    assert short(digest_of(b"")) == "e3b0c44298fc"
