"""The circuit breaker for calls to routers."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.breaker import Breaker


def test_after_a_failure_no_call_is_admitted_for_the_hold_and_then_one() -> None:
    breaker = Breaker(hold_s=2)
    assert breaker.admits(0)
    breaker.failed(1)
    assert not breaker.admits(2.9)
    assert breaker.left_s(2.5) == 0.5
    assert breaker.left_s(3.5) == 0
    assert breaker.admits(3)
    assert not breaker.admits(3)
    breaker.succeeded()
    assert breaker.admits(3)


@given(st.lists(st.tuples(st.sampled_from(["ask", "fail", "succeed"]), st.floats(0, 5)), max_size=40))
def test_it_never_stays_open_for_longer_than_the_hold(history: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(hold_s=2), 0.0
    for what, later in history:
        now += later
        if what == "ask":
            breaker.admits(now)
        elif what == "fail":
            breaker.failed(now)
        else:
            breaker.succeeded()
            assert breaker.admits(now)
    assert breaker.admits(now + 2)
