"""The breaker of each router replica."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.replica_health import HOLD_S, ReplicaHealth, Turn

steps = st.lists(
    st.tuples(st.sampled_from(["asked", "failed", "doubtful", "answered"]), st.floats(0, 5)), max_size=40
)


def test_after_a_failure_it_is_not_asked_for_the_hold_and_then_by_one_call() -> None:
    health = ReplicaHealth()
    assert health.turn(0) is Turn.FIRST
    health.failed(1)
    assert health.turn(2.9) is Turn.NEVER
    assert health.left_s(2.5) == 0.5
    assert (health.turn(3), health.left_s(3)) == (Turn.FIRST, 0)
    health.asked(3)
    assert health.turn(3) is Turn.NEVER
    health.answered()
    assert health.turn(3) is Turn.FIRST


def test_after_a_late_or_outdated_answer_it_is_asked_last_but_it_is_asked() -> None:
    health = ReplicaHealth()
    health.doubtful(1)
    assert (health.turn(2.9), health.left_s(2)) == (Turn.LAST, 0)
    assert health.turn(3) is Turn.FIRST
    health.asked(3)
    assert health.turn(3) is Turn.LAST


@given(steps)
def test_it_is_tried_again_after_the_hold_and_never_shut_out_without_a_failure(
    history: list[tuple[str, float]],
) -> None:
    health, now, last = ReplicaHealth(), 0.0, "answered"
    for what, later in history:
        now += later
        if what == "asked":
            health.asked(now)
        else:
            last = what
            getattr(health, what)(*() if what == "answered" else (now,))
        turn = health.turn(now)
        assert turn is not Turn.NEVER or last == "failed"
        assert turn is Turn.FIRST or last != "answered"
        assert (turn is Turn.NEVER) == (health.left_s(now) > 0)
    assert health.turn(now + HOLD_S) is Turn.FIRST
