"""Which holders the router names, and in which order."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from heliograph_router.domain.index import Index
from heliograph_router.domain.replica import Replica
from heliograph_router.domain.selection import FailureReports, Selector


def holders(**zones: str) -> list[Replica]:
    made = []
    for name, zone in zones.items():
        replica = Replica(name, Index())
        replica.zone = zone
        made.append(replica)
    return made


def selector(seed: int = 1) -> Selector:
    return Selector(random.Random(seed).randrange)


@given(st.integers(0, 1000))
def test_the_own_zone_comes_first_then_suspects_then_those_that_failed_the_asker(seed: int) -> None:
    nodes = holders(near1="z", near2="z", far1="y", far2="x", bad="z", failed="z")
    chosen = [
        node.node
        for node in selector(seed).choose(
            nodes, 9, zone="z", is_suspect={"bad", "failed"}.__contains__, failed={"failed"}
        )
    ]
    assert set(chosen[:2]) == {"near1", "near2"}
    assert set(chosen[2:4]) == {"far1", "far2"}
    assert chosen[4:] == ["bad", "failed"]


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.sampled_from("yz")), st.integers(0, 9))
def test_it_names_as_many_as_wanted_and_each_once(zones: dict[str, str], count: int) -> None:
    chosen = selector().choose(holders(**zones), count, zone="z", is_suspect=().__contains__)
    assert len(chosen) == min(count, len(zones))
    assert len({node.node for node in chosen}) == len(chosen)


def test_an_asker_without_a_zone_prefers_none() -> None:
    nodes = holders(**{"nowhere": "", **{f"node{number}": "z" for number in range(9)}})
    chosen = selector()
    firsts = {chosen.choose(list(nodes), 1, zone="", is_suspect=().__contains__)[0].node for _ in range(100)}
    assert len(firsts) == 10


def test_the_load_is_spread_evenly() -> None:
    nodes, chosen = holders(**{f"node{number}": "" for number in range(100)}), selector()
    first = Counter(chosen.choose(nodes, 3, zone="", is_suspect=().__contains__)[0].node for _ in range(1000))
    assert max(first.values()) <= 14, "10 each would be even, drawing at random gives some 20"


def test_two_holders_alternate() -> None:
    nodes, chosen = holders(a="", b=""), selector()
    assert Counter(
        chosen.choose(nodes, 1, zone="", is_suspect=().__contains__)[0].node for _ in range(100)
    ) == {
        "a": 50,
        "b": 50,
    }


def test_old_choices_count_less() -> None:
    nodes, chosen = holders(a="", b=""), selector()
    for _ in range(64):
        chosen.choose(nodes[:1], 1, zone="", is_suspect=().__contains__)
    for _ in range(7):
        chosen.decay()
    assert chosen._times_first == {}


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc")), max_size=20))
def test_a_report_ends_ten_seconds_after_the_last_one(reports: list[tuple[int, str]]) -> None:
    reported, now_s = FailureReports(), 0
    last: dict[str, int] = {}
    for later_s, node in reports:
        now_s += later_s
        last[node] = now_s
        reported.report([node], now_s)
        assert set(reported.suspects(now_s)) == {node for node, at_s in last.items() if now_s - at_s < 10}


def test_reports_are_bounded_and_the_oldest_are_dropped() -> None:
    reported = FailureReports()
    reported.report((f"n{number}" for number in range(1_500)), 0)
    assert set(reported.suspects(0)) == {f"n{number}" for number in range(500, 1_500)}
