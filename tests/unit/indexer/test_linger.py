"""How long changes wait for others to share a message with."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from heliograph_indexer.domain.linger import Linger


def sent_until(linger: Linger, start_s: float, end_s: float) -> list[float]:
    """When messages go if there always is something to say."""
    now_s, sent = start_s, []
    while (now_s := now_s + linger.due_in_s(now_s)) < end_s:
        linger.sent(now_s)
        sent.append(now_s)
    return sent


def test_the_first_change_after_a_quiet_time_goes_at_once_and_others_soon() -> None:
    linger = Linger()
    assert linger.due_in_s(100) == 0
    sent = sent_until(linger, 100, 100.295)
    assert len(sent) == 30
    assert max(later - earlier for earlier, later in pairwise(sent)) < 0.011


def test_changes_that_do_not_end_make_four_messages_a_second() -> None:
    linger = Linger()
    sent_until(linger, 0, 10)
    assert len(sent_until(linger, 10, 20)) in {39, 40, 41}


def test_after_a_quiet_time_it_is_as_at_the_beginning() -> None:
    linger = Linger()
    sent_until(linger, 0, 10)
    assert len(sent_until(linger, 18, 18.295)) == 30


@given(st.lists(st.floats(0, 2), max_size=60))
def test_no_change_waits_longer_than_a_quarter_of_a_second(pauses: list[float]) -> None:
    linger, now_s = Linger(), 0.0
    for pause_s in pauses:
        now_s += pause_s
        wait_s = linger.due_in_s(now_s)
        assert 0 <= wait_s <= 0.25 + 1e-9
        now_s += wait_s
        linger.sent(now_s)
