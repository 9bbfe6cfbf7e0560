"""When a transfer has stalled; the test passes seconds and bytes."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.stall import Side, StallDetector

WINDOW_S, CLIENT_S = 10.0, 120.0
MIN_BYTES_S = 1024


def new_detector() -> StallDetector:
    return StallDetector(0.0, source_s=WINDOW_S, client_s=CLIENT_S)


def test_a_source_that_sends_nothing_for_a_window_has_stalled() -> None:
    detector = new_detector()
    detector.waits_for(Side.SOURCE)
    assert detector.stalled(0, WINDOW_S - 0.1, Side.SOURCE) is None
    assert detector.stalled(0, WINDOW_S, Side.SOURCE) is Side.SOURCE


def test_a_source_that_sends_almost_nothing_has_stalled() -> None:
    detector = new_detector()
    verdicts = []
    for second in range(1, 11):
        detector.waits_for(Side.SOURCE)
        verdicts.append(detector.stalled(second, float(second), None))  # each byte has just been moved
    assert verdicts[-1] is Side.SOURCE
    assert set(verdicts[:-1]) == {None}


def test_a_source_is_not_blamed_for_a_window_in_which_the_transfer_waited_for_the_client() -> None:
    detector = new_detector()
    detector.waits_for(Side.CLIENT)
    assert detector.stalled(0, WINDOW_S, Side.SOURCE) is None
    assert detector.stalled(0, 2 * WINDOW_S, Side.SOURCE) is Side.SOURCE


def test_a_client_that_accepts_nothing_has_stalled_after_its_own_time() -> None:
    detector = new_detector()
    detector.waits_for(Side.CLIENT)
    for second in range(1, int(CLIENT_S)):
        assert detector.stalled(0, float(second), Side.CLIENT) is None
    assert detector.stalled(0, CLIENT_S, Side.CLIENT) is Side.CLIENT


@given(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=300))
def test_a_client_that_accepts_a_little_now_and_then_never_stalls(taken: list[int]) -> None:
    detector = new_detector()
    moved, now = 0, 0.0
    for count in taken:
        moved, now = moved + count, now + CLIENT_S - 1
        detector.waits_for(Side.CLIENT)
        assert detector.stalled(moved, now, Side.CLIENT) is None


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
        assert detector.stalled(moved, now, waiting_for) is None


@given(st.lists(st.floats(0.01, 2.0), min_size=30, max_size=200))
def test_silence_is_noticed_within_two_windows(pauses: list[float]) -> None:
    detector = new_detector()
    now = 0.0
    for seconds in pauses:
        now += seconds
        detector.waits_for(Side.SOURCE)
        if detector.stalled(0, now, Side.SOURCE) is not None:
            return
        assert now < 2 * WINDOW_S
