"""Numbers as people read them."""

import pytest

from heliograph_registry.debug.domain.formatting import age, count, listed, short, size, speed, took
from heliograph_shared.digest import digest_of


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"), (999 << 50, "1022976 TiB")],
)
def test_sizes_are_in_binary_units(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (90, "2 min"), (7200, "2 h"), (72 * 3600, "3 d")]
)
def test_ages_are_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_the_rest() -> None:
    assert [took(0.0004), took(0.0123), took(1.25)] == ["0.4 ms", "12 ms", "1.25 s"]
    assert [count(0, "peer"), count(1, "peer"), count(1200, "peer")] == ["no peers", "1 peer", "1,200 peers"]
    assert [listed([]), listed(["a"]), listed(["a", "b", "c"])] == ["", "a", "a, b and c"]
    assert speed(64 << 20, 2.0) == "32 MiB/s"
    assert speed(10, 0.0) == ""
    assert short(digest_of(b"")) == "e3b0c44298fc"
