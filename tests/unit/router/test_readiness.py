"""When a miss is authoritative."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_router.domain.readiness import Readiness


def reviewed(readiness: Readiness, now_s: float, nodes: int, in_sync: int) -> str | None:
    readiness.review(now_s, nodes=nodes, in_sync=in_sync)
    return readiness.reason


def test_without_the_bus_it_is_never_ready() -> None:
    assert "bus" in (reviewed(Readiness(30), 1e6, 0, 0) or "")


def test_nodes_get_15_s_to_answer() -> None:
    readiness = Readiness(30)
    readiness.hello_sent(100)
    assert "answer" in (reviewed(readiness, 114.9, 10, 10) or "")
    assert reviewed(readiness, 115, 10, 10) is None


def test_95_percent_in_sync_are_enough() -> None:
    readiness = Readiness(30)
    readiness.hello_sent(0)
    assert "94 of 100" in (reviewed(readiness, 20, 100, 94) or "")
    assert reviewed(readiness, 20, 100, 95) is None


def test_after_60_s_it_is_ready_in_any_case() -> None:
    readiness = Readiness(30)
    readiness.hello_sent(0)
    assert reviewed(readiness, 59.9, 10, 0) is not None
    assert reviewed(readiness, 60, 10, 0) is None


def test_a_cluster_without_nodes_counts_as_in_sync() -> None:
    readiness = Readiness(30)
    readiness.hello_sent(0)
    assert reviewed(readiness, 15, 0, 0) is None


def test_short_leases_shorten_both_times_and_long_ones_do_not_lengthen_them() -> None:
    short, long = Readiness(3), Readiness(300)
    short.hello_sent(0)
    long.hello_sent(0)
    assert reviewed(short, 1.5, 1, 1) is None
    assert reviewed(long, 15, 1, 1) is None


def test_a_second_hello_restarts_the_wait_unless_already_ready() -> None:
    readiness = Readiness(30)
    readiness.hello_sent(0)
    readiness.hello_sent(10)
    assert reviewed(readiness, 16, 1, 1) is not None
    assert reviewed(readiness, 25, 1, 1) is None
    readiness.hello_sent(30)
    assert reviewed(readiness, 30, 10, 0) is None


@pytest.fixture
def current() -> Readiness:
    """Ready since 15 s, and in touch with the nodes."""
    readiness = Readiness(30)
    readiness.hello_sent(0)
    readiness.heard(15)
    readiness.review(15, nodes=10, in_sync=10)
    assert readiness.is_current(15)
    return readiness


def test_a_router_that_heard_nothing_for_3_s_does_not_say_that_nobody_has_it(current: Readiness) -> None:
    assert current.is_current(17.9)
    assert not current.is_current(18)
    assert current.reason is None
    current.heard(19)
    assert current.is_current(19)


def test_after_a_lost_connection_the_nodes_must_answer_again(current: Readiness) -> None:
    current.link_lost()
    current.heard(16)
    assert not current.is_current(16)
    assert reviewed(current, 1000, 10, 10) is None
    assert not current.is_current(16)
    current.hello_sent(1000)
    current.heard(1015)
    current.review(1014.9, nodes=10, in_sync=10)
    assert not current.is_current(1014.9)
    current.review(1015, nodes=10, in_sync=9)
    assert not current.is_current(1015)
    current.review(1015, nodes=10, in_sync=10)
    assert current.is_current(1015)


steps = st.lists(
    st.tuples(st.sampled_from(["hello", "lost", "heard", "review"]), st.floats(0, 20), st.integers(0, 10)),
    max_size=40,
)


@given(steps)
def test_it_is_current_only_in_touch_and_settled_since_the_last_loss(
    history: list[tuple[str, float, int]],
) -> None:
    readiness = Readiness(30)
    now_s, hello_s, heard_s, was_ready = 0.0, None, 0.0, False
    for kind, wait_s, in_sync in history:
        now_s += wait_s
        match kind:
            case "hello":
                readiness.hello_sent(now_s)
                hello_s = now_s if hello_s is None or not readiness.is_current(heard_s) else hello_s
            case "lost":
                readiness.link_lost()
                hello_s = None
            case "heard":
                readiness.heard(now_s)
                heard_s = now_s
            case "review":
                readiness.review(now_s, nodes=10, in_sync=in_sync)
        if readiness.is_current(now_s):
            assert hello_s is not None
            assert now_s - hello_s >= 15
            assert now_s - heard_s < 3
            assert readiness.reason is None
        assert readiness.reason is None or not was_ready
        was_ready = readiness.reason is None
