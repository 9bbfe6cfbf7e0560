"""Who goes upstream for what nobody holds, and who waits."""

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from heliograph_router.domain.waiting import Turn, Waiting
from heliograph_shared.digest import Digest
from tests.unit.router.simulated import DIGESTS

A, B = DIGESTS[:2]
LEASE_S = 10.0


class Held:
    def __init__(self) -> None:
        self.by: dict[Digest, set[str]] = {}

    def holder_count(self, digest: Digest) -> int:
        return len(self.by.get(digest, ()))

    def holds(self, node: str, digest: Digest) -> bool:
        return node in self.by.get(digest, ())


class Desk:
    """A queue for `A`, and what it told whom."""

    def __init__(self, leaders: int = 1) -> None:
        self.held, self.now_s = Held(), 0.0
        self.told: dict[str, Turn] = {}
        self.waiting = Waiting(self.held, leaders=leaders, lease_s=LEASE_S, on_turn=self._tell)

    def ask(self, *nodes: str) -> list[Turn]:
        return [self.waiting.ask(A, node, self.now_s) for node in nodes]

    def arrives(self, node: str) -> None:
        self.held.by.setdefault(A, set()).add(node)
        self.waiting.changed({A}, self.now_s)

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.waiting.review(self.now_s)

    def woken(self) -> dict[str, Turn]:
        """Who was told since the last time it was looked at."""
        told, self.told = self.told, {}
        return told

    def _tell(self, digest: Digest, node: str, turn: Turn) -> None:
        if digest == A:
            self.told[node] = turn


def test_one_goes_upstream_and_the_others_follow_two_a_copy() -> None:
    desk = Desk()
    assert desk.ask("a", "b", "c", "d", "e", "f") == [Turn.UPSTREAM] + [Turn.WAIT] * 5
    desk.woken()
    desk.arrives("a")
    assert desk.woken() == {"b": Turn.PEERS, "c": Turn.PEERS}
    desk.arrives("b")
    assert desk.woken() == {"d": Turn.PEERS, "e": Turn.PEERS, "f": Turn.PEERS}
    assert desk.ask("g") == [Turn.PEERS]


def test_what_is_held_already_is_not_waited_for() -> None:
    desk = Desk()
    desk.arrives("z")
    assert desk.ask("a", "b", "c", "d") == [Turn.PEERS] * 4


def test_who_comes_late_stands_in_the_same_queue() -> None:
    desk = Desk()
    desk.ask("a", "b", "c", "d")
    desk.arrives("a")
    assert desk.ask("late") == [Turn.WAIT]
    desk.woken()
    desk.arrives("b")
    assert desk.woken() == {"d": Turn.PEERS, "late": Turn.PEERS}


def test_as_many_lead_as_are_allowed_to() -> None:
    assert Desk(leaders=3).ask("a", "b", "c", "d") == [Turn.UPSTREAM] * 3 + [Turn.WAIT]


def test_who_asks_again_is_told_the_same() -> None:
    desk = Desk()
    assert desk.ask("a", "a", "b", "b") == [Turn.UPSTREAM, Turn.UPSTREAM, Turn.WAIT, Turn.WAIT]
    desk.arrives("a")
    assert desk.ask("b") == [Turn.PEERS]


def test_a_leader_whose_lease_ends_is_replaced() -> None:
    desk = Desk()
    desk.ask("a", "b", "c")
    desk.woken()
    desk.later(LEASE_S - 1)
    desk.ask("a")  # it failed and tries again, which is no progress
    assert desk.woken() == {}
    desk.later(1)
    assert desk.woken() == {"b": Turn.UPSTREAM}


def test_a_leader_that_downloads_is_waited_for() -> None:
    desk = Desk()
    desk.ask("a", "b")
    desk.woken()
    for _ in range(5):
        desk.later(LEASE_S - 1)
        desk.waiting.downloading("a", [B, A], desk.now_s)
    assert desk.woken() == {}


def test_a_leader_that_is_gone_is_replaced_at_once() -> None:
    desk = Desk()
    desk.ask("a", "b", "c")
    desk.woken()
    desk.waiting.gone("a", desk.now_s)
    assert desk.woken() == {"b": Turn.UPSTREAM}


def test_who_was_sent_to_a_copy_and_does_not_get_it_makes_room() -> None:
    desk = Desk()
    desk.ask("a", "b", "c", "d")
    desk.arrives("a")
    desk.woken()
    desk.waiting.gone("b", desk.now_s)
    assert desk.woken() == {"d": Turn.PEERS}


def test_who_no_longer_waits_is_passed_over() -> None:
    desk = Desk()
    desk.ask("a", "b", "c")
    desk.waiting.leave(A, "b")
    desk.woken()
    desk.waiting.gone("a", desk.now_s)
    assert desk.woken() == {"c": Turn.UPSTREAM}


def test_a_copy_that_vanishes_makes_the_next_one_a_leader() -> None:
    desk = Desk()
    desk.ask("a", "b", "c", "d")
    desk.arrives("a")
    desk.woken()
    desk.held.by[A].clear()
    desk.later(LEASE_S)
    assert desk.woken() == {"d": Turn.UPSTREAM}


def test_there_is_a_bound_beyond_which_everybody_goes_upstream() -> None:
    desk = Desk()
    for number in range(10_000):
        assert desk.waiting.ask(Digest(f"sha256:{number:064x}"), "a", 0) is Turn.UPSTREAM
    assert desk.ask("a", "b") == [Turn.UPSTREAM, Turn.UPSTREAM]
    desk.later(LEASE_S)
    assert desk.ask("a", "b") == [Turn.UPSTREAM, Turn.WAIT]


NODES = st.sampled_from("abcdefgh")


class Queueing(RuleBasedStateMachine):
    """Nodes ask, fetch, fail, die and give up in any order."""

    @initialize(leaders=st.integers(1, 3))
    def begin(self, leaders: int) -> None:
        self.desk, self.leaders = Desk(leaders), leaders
        self.waiters: set[str] = set()
        self.working: dict[str, tuple[Turn, float]] = {}

    @rule(node=NODES)
    def ask(self, node: str) -> None:
        if self.desk.held.holds(node, A):
            return
        (turn,) = self.desk.ask(node)
        if turn is Turn.WAIT:
            self.waiters.add(node)
        else:
            self.desk.told.pop(node, None)
            self.waiters.discard(node)
            if node not in self.working or self.working[node][0] is not turn:  # its copy may have vanished
                self.working[node] = (turn, self.desk.now_s + LEASE_S)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def somebody_gets_it(self, data: Any) -> None:
        node = data.draw(st.sampled_from(sorted(self.working)))
        del self.working[node]
        self.desk.arrives(node)

    @rule(node=NODES)
    def lost(self, node: str) -> None:
        self.working.pop(node, None)
        self.desk.held.by.get(A, set()).discard(node)
        self.desk.waiting.gone(node, self.desk.now_s)

    @rule(node=NODES)
    def give_up(self, node: str) -> None:
        self.waiters.discard(node)
        self.desk.waiting.leave(A, node)

    @rule(seconds=st.floats(0.1, LEASE_S))
    def later(self, seconds: float) -> None:
        now_s = self.desk.now_s + seconds
        self.working = {node: work for node, work in self.working.items() if work[1] > now_s}
        self.desk.later(seconds)

    @rule(node=NODES)
    def downloading(self, node: str) -> None:
        if node in self.working:
            self.working[node] = (self.working[node][0], self.desk.now_s + LEASE_S)
        self.desk.waiting.downloading(node, [A], self.desk.now_s)

    @invariant()
    def who_is_told_was_waiting(self) -> None:
        if not hasattr(self, "desk"):
            return
        told = self.desk.woken()
        copies = self.desk.held.holder_count(A)
        assert len(told) <= (2 * copies if copies else self.leaders)
        for node, turn in told.items():
            assert turn is (Turn.PEERS if copies else Turn.UPSTREAM)
            if node in self.waiters:
                self.waiters.discard(node)
                self.working[node] = (turn, self.desk.now_s + LEASE_S)
        at_work = Counter(turn for turn, _ in self.working.values())
        if self.waiters:  # nobody waits while there is room
            if copies:
                assert at_work[Turn.PEERS] >= 2 * copies
            else:
                assert at_work[Turn.UPSTREAM] >= self.leaders

    def teardown(self) -> None:
        """Whatever happened before: if everybody who is told then fetches it, everybody gets it."""
        if not hasattr(self, "desk"):
            return
        for _ in range(100):
            self.who_is_told_was_waiting()
            if not self.waiters:
                break
            for node in list(self.working):
                del self.working[node]
                self.desk.arrives(node)
                self.who_is_told_was_waiting()
            self.desk.later(LEASE_S)
        assert not self.waiters


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=150, stateful_step_count=40)
