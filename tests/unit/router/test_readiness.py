"""When a miss is authoritative."""

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
