"""How often messages may be sent: quickly at first, four a second if it goes on."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from heliograph_indexer.domain.publish_rate import PublishRate


def sent_until(rate: PublishRate, start_s: float, end_s: float) -> list[float]:
    """When messages are sent if there is always something to publish."""
    now_s, sent = start_s, []
    while (now_s := now_s + rate.wait_s(now_s)) < end_s:
        rate.sent(now_s)
        sent.append(now_s)
    return sent


def test_the_first_change_after_a_quiet_time_goes_at_once_and_others_soon() -> None:
    rate = PublishRate()
    assert rate.wait_s(100) == 0
    sent = sent_until(rate, 100, 100.295)
    assert len(sent) == 30
    assert max(later - earlier for earlier, later in pairwise(sent)) < 0.011


def test_changes_that_do_not_end_make_four_messages_a_second() -> None:
    rate = PublishRate()
    sent_until(rate, 0, 10)
    assert len(sent_until(rate, 10, 20)) in {39, 40, 41}


def test_after_a_quiet_time_it_is_as_at_the_beginning() -> None:
    rate = PublishRate()
    sent_until(rate, 0, 10)
    assert len(sent_until(rate, 18, 18.295)) == 30


@given(st.lists(st.floats(0, 2), max_size=60))
def test_no_change_waits_longer_than_a_quarter_of_a_second(pauses: list[float]) -> None:
    rate, now_s = PublishRate(), 0.0
    for pause_s in pauses:
        now_s += pause_s
        wait_s = rate.wait_s(now_s)
        assert 0 <= wait_s <= 0.25 + 1e-9
        now_s += wait_s
        rate.sent(now_s)
