"""Which nodes go upstream for content that nobody holds, and which wait."""

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


class FakeHolders:
    def __init__(self) -> None:
        self.by_digest: dict[Digest, set[str]] = {}

    def holder_count(self, digest: Digest) -> int:
        return len(self.by_digest.get(digest, ()))

    def holds(self, node: str, digest: Digest) -> bool:
        return node in self.by_digest.get(digest, ())


class QueueOfA:
    """The queue for digest `A`, and the turns it gave to nodes."""

    def __init__(self, leaders: int = 1) -> None:
        self.holders, self.now_s = FakeHolders(), 0.0
        self.turns: dict[str, Turn] = {}
        self.waiting = Waiting(self.holders, leaders=leaders, lease_s=LEASE_S, on_turn=self._on_turn)

    def ask(self, *nodes: str) -> list[Turn]:
        return [self.waiting.ask(A, node, self.now_s) for node in nodes]

    def arrives(self, node: str) -> None:
        self.holders.by_digest.setdefault(A, set()).add(node)
        self.waiting.changed({A}, self.now_s)

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.waiting.review(self.now_s)

    def new_turns(self) -> dict[str, Turn]:
        """The turns given since the last call."""
        turns, self.turns = self.turns, {}
        return turns

    def _on_turn(self, digest: Digest, node: str, turn: Turn) -> None:
        if digest == A:
            self.turns[node] = turn


def test_one_goes_upstream_and_each_holder_serves_two_others() -> None:
    queue = QueueOfA()
    assert queue.ask("a", "b", "c", "d", "e", "f") == [Turn.UPSTREAM] + [Turn.WAIT] * 5
    queue.new_turns()
    queue.arrives("a")
    assert queue.new_turns() == {"b": Turn.PEERS, "c": Turn.PEERS}
    queue.arrives("b")
    assert queue.new_turns() == {"d": Turn.PEERS, "e": Turn.PEERS, "f": Turn.PEERS}
    assert queue.ask("g") == [Turn.PEERS]


def test_nobody_waits_for_content_that_has_a_holder() -> None:
    queue = QueueOfA()
    queue.arrives("z")
    assert queue.ask("a", "b", "c", "d") == [Turn.PEERS] * 4


def test_a_late_node_joins_the_same_queue() -> None:
    queue = QueueOfA()
    queue.ask("a", "b", "c", "d")
    queue.arrives("a")
    assert queue.ask("late") == [Turn.WAIT]
    queue.new_turns()
    queue.arrives("b")
    assert queue.new_turns() == {"d": Turn.PEERS, "late": Turn.PEERS}


def test_there_are_as_many_leaders_as_allowed() -> None:
    assert QueueOfA(leaders=3).ask("a", "b", "c", "d") == [Turn.UPSTREAM] * 3 + [Turn.WAIT]


def test_asking_again_gives_the_same_answer() -> None:
    queue = QueueOfA()
    assert queue.ask("a", "a", "b", "b") == [Turn.UPSTREAM, Turn.UPSTREAM, Turn.WAIT, Turn.WAIT]
    queue.arrives("a")
    assert queue.ask("b") == [Turn.PEERS]


def test_a_leader_whose_lease_ends_is_replaced() -> None:
    queue = QueueOfA()
    queue.ask("a", "b", "c")
    queue.new_turns()
    queue.later(LEASE_S - 1)
    queue.ask("a")  # it failed and tries again, which is no progress
    assert queue.new_turns() == {}
    queue.later(1)
    assert queue.new_turns() == {"b": Turn.UPSTREAM}


def test_a_leader_that_downloads_keeps_its_lease() -> None:
    queue = QueueOfA()
    queue.ask("a", "b")
    queue.new_turns()
    for _ in range(5):
        queue.later(LEASE_S - 1)
        queue.waiting.downloading("a", [B, A], queue.now_s)
    assert queue.new_turns() == {}


def test_a_leader_that_is_gone_is_replaced_at_once() -> None:
    queue = QueueOfA()
    queue.ask("a", "b", "c")
    queue.new_turns()
    queue.waiting.gone("a", queue.now_s)
    assert queue.new_turns() == {"b": Turn.UPSTREAM}


def test_a_node_that_is_gone_frees_its_place_at_the_holder() -> None:
    queue = QueueOfA()
    queue.ask("a", "b", "c", "d")
    queue.arrives("a")
    queue.new_turns()
    queue.waiting.gone("b", queue.now_s)
    assert queue.new_turns() == {"d": Turn.PEERS}


def test_when_the_last_holder_is_gone_the_next_node_becomes_a_leader_at_once() -> None:
    queue = QueueOfA()
    queue.ask("a", "b", "c", "d")
    queue.arrives("a")
    queue.new_turns()
    queue.holders.by_digest[A].clear()
    queue.waiting.gone("a", queue.now_s)
    assert queue.new_turns() == {"d": Turn.UPSTREAM}


def test_a_node_that_no_longer_waits_is_skipped() -> None:
    queue = QueueOfA()
    queue.ask("a", "b", "c")
    queue.waiting.leave(A, "b")
    queue.new_turns()
    queue.waiting.gone("a", queue.now_s)
    assert queue.new_turns() == {"c": Turn.UPSTREAM}


def test_when_the_last_holder_vanishes_the_next_node_becomes_a_leader() -> None:
    queue = QueueOfA()
    queue.ask("a", "b", "c", "d")
    queue.arrives("a")
    queue.new_turns()
    queue.holders.by_digest[A].clear()
    queue.later(LEASE_S)
    assert queue.new_turns() == {"d": Turn.UPSTREAM}


def test_beyond_the_bound_every_node_goes_upstream() -> None:
    queue = QueueOfA()
    for number in range(10_000):
        assert queue.waiting.ask(Digest(f"sha256:{number:064x}"), "a", 0) is Turn.UPSTREAM
    assert queue.ask("a", "b") == [Turn.UPSTREAM, Turn.UPSTREAM]
    queue.later(LEASE_S)
    assert queue.ask("a", "b") == [Turn.UPSTREAM, Turn.WAIT]


NODES = st.sampled_from("abcdefgh")


class QueueMachine(RuleBasedStateMachine):
    """Nodes ask, fetch, fail, die and give up in any order."""

    @initialize(leaders=st.integers(1, 3))
    def begin(self, leaders: int) -> None:
        self.queue, self.leaders = QueueOfA(leaders), leaders
        self.waiters: set[str] = set()
        self.working: dict[str, tuple[Turn, float]] = {}

    @rule(node=NODES)
    def ask(self, node: str) -> None:
        if self.queue.holders.holds(node, A):
            return
        (turn,) = self.queue.ask(node)
        if turn is Turn.WAIT:
            self.waiters.add(node)
        else:
            self.queue.turns.pop(node, None)
            self.waiters.discard(node)
            if node not in self.working or self.working[node][0] is not turn:  # its holder may have vanished
                self.working[node] = (turn, self.queue.now_s + LEASE_S)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def a_node_receives_it(self, data: Any) -> None:
        node = data.draw(st.sampled_from(sorted(self.working)))
        del self.working[node]
        self.queue.arrives(node)

    @rule(node=NODES)
    def lost(self, node: str) -> None:
        self.working.pop(node, None)
        self.queue.holders.by_digest.get(A, set()).discard(node)
        self.queue.waiting.gone(node, self.queue.now_s)

    @rule(node=NODES)
    def give_up(self, node: str) -> None:
        self.waiters.discard(node)
        self.queue.waiting.leave(A, node)

    @rule(seconds=st.floats(0.1, LEASE_S))
    def later(self, seconds: float) -> None:
        now_s = self.queue.now_s + seconds
        self.working = {node: work for node, work in self.working.items() if work[1] > now_s}
        self.queue.later(seconds)

    @rule(node=NODES)
    def downloading(self, node: str) -> None:
        if node in self.working:
            self.working[node] = (self.working[node][0], self.queue.now_s + LEASE_S)
        self.queue.waiting.downloading(node, [A], self.queue.now_s)

    @invariant()
    def only_waiting_nodes_get_a_turn(self) -> None:
        if not hasattr(self, "queue"):
            return
        turns = self.queue.new_turns()
        holder_count = self.queue.holders.holder_count(A)
        assert len(turns) <= (2 * holder_count if holder_count else self.leaders)
        for node, turn in turns.items():
            assert turn is (Turn.PEERS if holder_count else Turn.UPSTREAM)
            if node in self.waiters:
                self.waiters.discard(node)
                self.working[node] = (turn, self.queue.now_s + LEASE_S)
        working_by_turn = Counter(turn for turn, _ in self.working.values())
        if self.waiters:  # nobody waits while a place is free
            if holder_count:
                assert working_by_turn[Turn.PEERS] >= 2 * holder_count
            else:
                assert working_by_turn[Turn.UPSTREAM] >= self.leaders

    def teardown(self) -> None:
        """If every node that gets a turn fetches the content from here on, every node gets it."""
        if not hasattr(self, "queue"):
            return
        for _ in range(100):
            self.only_waiting_nodes_get_a_turn()
            if not self.waiters:
                break
            for node in list(self.working):
                del self.working[node]
                self.queue.arrives(node)
                self.only_waiting_nodes_get_a_turn()
            self.queue.later(LEASE_S)
        assert not self.waiters


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=150, stateful_step_count=40)
