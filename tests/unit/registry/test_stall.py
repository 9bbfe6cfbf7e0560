"""When a transfer has stalled or is slow; the test passes seconds and bytes."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.stall import CHECK_EVERY_S, Side, Stall, StallDetector

WINDOW_S, CLIENT_S = 10.0, 120.0
MIN_BYTES_S = 1024
SLOW_BELOW = 100_000.0


def new_detector(slow_below: float | None = None) -> StallDetector:
    other = None if slow_below is None else (lambda: slow_below)
    return StallDetector(0.0, source_s=WINDOW_S, client_s=CLIENT_S, slow_below=other)


def times(until_s: float, began_s: float = 0.0) -> Iterator[float]:
    """The moments of the checks."""
    yield from (began_s + CHECK_EVERY_S * number for number in range(1, int(until_s / CHECK_EVERY_S) + 1))


def first(detector: StallDetector, verdict: Stall, bytes_s: float, *, before: int = 0) -> float:
    """After how many seconds at this rate the verdict comes; `before` bytes came within the first check."""
    for now in times(200):
        detector.waits_for(Side.SOURCE)
        if detector.check(before + int(bytes_s * now), now, Side.SOURCE) is verdict:
            return now
    raise AssertionError("never")


def test_a_source_that_sends_nothing_has_stalled_after_its_time_whatever_it_sent_before() -> None:
    for before in (0, 1 << 30):
        assert WINDOW_S <= first(new_detector(), Stall.SOURCE_STALLED, 0, before=before) <= WINDOW_S * 1.2


def test_a_source_that_sends_almost_nothing_has_stalled() -> None:
    assert first(new_detector(), Stall.SOURCE_STALLED, MIN_BYTES_S - 100) <= WINDOW_S * 1.2


@given(st.integers(0, 1 << 30))
def test_a_silent_source_is_slow_before_three_seconds_have_passed(before: int) -> None:
    assert 2 <= first(new_detector(SLOW_BELOW), Stall.SOURCE_SLOW, 0, before=before) < 2.5


@given(st.floats(10, SLOW_BELOW * 0.99), st.integers(0, 1 << 30))
def test_a_source_that_drips_is_slow_before_five_seconds_have_passed(bytes_s: float, before: int) -> None:
    assert first(new_detector(SLOW_BELOW), Stall.SOURCE_SLOW, bytes_s, before=before) < 5


@given(st.floats(MIN_BYTES_S * 1.1, 1e9))
def test_a_source_without_a_faster_one_is_never_slow(bytes_s: float) -> None:
    for detector in (new_detector(), new_detector(bytes_s * 0.9)):
        for now in times(60):
            detector.waits_for(Side.SOURCE)
            assert detector.check(int(bytes_s * now), now, Side.SOURCE) is None


def test_a_slow_source_is_given_twice_as_long_each_time() -> None:
    detector, found = new_detector(SLOW_BELOW), []
    for now in times(120):
        detector.waits_for(Side.SOURCE)
        if detector.check(int(2000 * now), now, Side.SOURCE) is Stall.SOURCE_SLOW:
            found.append(now)
    apart = [later - earlier for earlier, later in zip([0.0, *found], found, strict=False)]
    assert all(seconds <= 1.3 * 4 * 2**number for number, seconds in enumerate(apart))
    assert all(seconds >= 4 * 2**number for number, seconds in enumerate(apart))
    assert len(found) == 4


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([{Side.CLIENT}, {Side.CLIENT, Side.SOURCE}])),
        min_size=1,
        max_size=400,
    )
)
def test_a_source_is_not_blamed_while_the_client_is_slow(steps: list[tuple[int, set[Side]]]) -> None:
    """Whether or not the transfer waits for the source at the moment of the check."""
    detector, moved = new_detector(SLOW_BELOW), 0
    for now, (more, waited_for) in zip(times(200), steps, strict=False):
        for side in waited_for:
            detector.waits_for(side)
        moved += more
        waiting_for = Side.SOURCE if Side.SOURCE in waited_for else Side.CLIENT
        verdict = detector.check(moved, now, waiting_for)
        detector.waits_for(Side.CLIENT)
        assert verdict in {None, Stall.CLIENT_STALLED}


@given(st.lists(st.floats(0.3, 60.0), min_size=2, max_size=30))
def test_time_in_which_nobody_checked_counts_for_half_a_second(pauses: list[float]) -> None:
    """The process did not run, so bytes may have arrived and nobody looked."""
    detector, now = new_detector(SLOW_BELOW), 0.0
    for number, seconds in enumerate(pauses, 1):
        now += seconds
        detector.waits_for(Side.SOURCE)
        if detector.check(0, now, Side.SOURCE) is not None:
            assert number >= 4
            return
    assert len(pauses) < 8


def test_a_pause_between_two_transfers_does_not_count() -> None:
    detector = new_detector(SLOW_BELOW)
    for began in (0.0, 100.0, 200.0):
        detector.restart(began)
        for now in times(1.5, began):
            detector.waits_for(Side.SOURCE)
            assert detector.check(1 << 20, now, Side.SOURCE) is None


def test_a_client_that_accepts_nothing_has_stalled_after_its_own_time() -> None:
    detector = new_detector()
    detector.waits_for(Side.CLIENT)
    for second in range(1, int(CLIENT_S)):
        assert detector.check(0, float(second), Side.CLIENT) is None
    assert detector.check(0, CLIENT_S, Side.CLIENT) is Stall.CLIENT_STALLED


@given(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=300))
def test_a_client_that_accepts_a_little_now_and_then_never_stalls(taken: list[int]) -> None:
    detector = new_detector()
    moved, now = 0, 0.0
    for count in taken:
        moved, now = moved + count, now + CLIENT_S - 1
        detector.waits_for(Side.CLIENT)
        assert detector.check(moved, now, Side.CLIENT) is None


@given(
    st.lists(
        st.tuples(st.floats(0.01, 3.0), st.integers(0, 4 << 20), st.sampled_from([None, *Side])), max_size=200
    )
)
def test_a_side_that_keeps_the_minimum_rate_is_never_blamed(
    steps: list[tuple[float, int, Side | None]],
) -> None:
    detector = new_detector()
    moved, now = 0, 0.0
    for seconds, more, waiting_for in steps:
        now += seconds
        moved += int(MIN_BYTES_S * seconds) + 1 + more
        if waiting_for:
            detector.waits_for(waiting_for)
        assert detector.check(moved, now, waiting_for) is None
