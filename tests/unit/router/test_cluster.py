"""The cluster as a whole: whatever the bus does to messages, the index ends up equal to the nodes."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from heliograph_router.domain.cluster import Cluster, LiveNode, NeedSnapshot, Refusal
from heliograph_router.domain.events import NodeEvent, TagClaim
from heliograph_shared.digest import Digest
from tests.unit.router.simulated import (
    DIGESTS,
    NOW_MS,
    REFERENCES,
    SimulatedNode,
    assert_consistent,
    digests_of,
    introduce,
    moment,
)

LEASE_S = 30.0
NAMES = ["a", "b", "c"]
A, B, C = DIGESTS[:3]

numbers = st.integers(0, 11)
digests = st.sampled_from(DIGESTS)
references = st.sampled_from(REFERENCES)


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster(LEASE_S)
    cluster.leases.link_works(moment(-LEASE_S))
    return cluster


class UnreliableBus(RuleBasedStateMachine):
    """Nodes change, start and stop, over a bus that loses, repeats and reorders messages.

    At the end of each history all messages still under way are delivered, then one heartbeat of each live
    node, then the snapshots that are needed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(LEASE_S)
        self.cluster.leases.link_works(moment(-LEASE_S))
        self.now_s = 0.0
        self.under_way: list[NodeEvent] = []
        self.living = {name: SimulatedNode(name) for name in NAMES}
        self.dead: dict[str, SimulatedNode] = {}

    def pick(self, number: int) -> SimulatedNode:
        return self.living[sorted(self.living)[number % len(self.living)]]

    @precondition(lambda self: self.living)
    @rule(number=numbers, digest=digests)
    def change(self, number: int, digest: Digest) -> None:
        node = self.pick(number)
        change = node.change(remove=(digest,)) if digest in node.content else node.change(add=(digest,))
        self.under_way.append(change)

    @precondition(lambda self: self.living)
    @rule(number=numbers, reference=references, digest=digests, tagged_at_ms=st.integers(0, 9))
    def tag(self, number: int, reference: str, digest: Digest, tagged_at_ms: int) -> None:
        self.under_way.append(self.pick(number).change(tag={reference: TagClaim(digest, tagged_at_ms)}))

    @precondition(lambda self: self.living)
    @rule(number=numbers, reference=references)
    def untag(self, number: int, reference: str) -> None:
        self.under_way.append(self.pick(number).change(untag=(reference,)))

    @precondition(lambda self: self.living)
    @rule(number=numbers)
    def beat(self, number: int) -> None:
        self.under_way.append(self.pick(number).heartbeat())

    @precondition(lambda self: self.living)
    @rule(number=numbers)
    def ask(self, number: int) -> None:
        self.under_way.append(self.pick(number).snapshot())

    @precondition(lambda self: self.living)
    @rule(number=numbers, announced=st.booleans())
    def stop(self, number: int, *, announced: bool) -> None:
        node = self.pick(number)
        if announced:
            self.under_way.append(node.left())
        self.dead[node.name] = self.living.pop(node.name)

    @rule(name=st.sampled_from(NAMES), content=st.sets(digests))
    def restart(self, name: str, content: set[Digest]) -> None:
        node = self.living.get(name) or self.dead.pop(name)
        self.living[name] = node
        self.under_way.append(node.restart(dict.fromkeys(content, 100)))

    @precondition(lambda self: self.under_way)
    @rule(place=numbers, repeated=st.booleans())
    def deliver(self, place: int, *, repeated: bool) -> None:
        event = self.under_way[place % len(self.under_way)]
        if not repeated:
            self.under_way.remove(event)
        self.cluster.apply(event, moment(self.now_s))

    @precondition(lambda self: self.under_way)
    @rule(place=numbers)
    def lose(self, place: int) -> None:
        self.under_way.pop(place % len(self.under_way))

    @rule(seconds=st.sampled_from([0.5, 5, LEASE_S]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.cluster.expire(moment(self.now_s))

    @rule()
    def sweep(self) -> None:
        self.cluster.index.sweep()

    @invariant()
    def the_index_is_consistent(self) -> None:
        assert_consistent(self.cluster.index)
        assert self.cluster.index._slots.keys() <= {node.name for node in self.known()}

    @invariant()
    def only_later_deltas_are_pending(self) -> None:
        for replica in self.cluster._replicas.values():
            assert all(sequence > replica.sequence for sequence in replica._progress.pending._deltas)

    def known(self) -> list[LiveNode]:
        return list(self.cluster.nodes(moment(self.now_s)))

    def teardown(self) -> None:
        while self.under_way:
            self.deliver(0, repeated=False)
        self.now_s += LEASE_S
        for node in self.living.values():
            self.cluster.apply(node.heartbeat(), moment(self.now_s))
        self.wait(1)
        for need in self.cluster.needs(moment(self.now_s)):
            self.cluster.apply(self.living[need.node].snapshot(), moment(self.now_s))

        self.the_index_is_consistent()
        assert self.cluster.needs(moment(self.now_s)) == []
        assert {node.name for node in self.known()} == self.living.keys()
        assert all(node.in_sync for node in self.known())
        for name, node in self.living.items():
            assert digests_of(self.cluster.index, name) == set(node.content)
            assert self.cluster.index.inventory(name) == node.inventory
        assert self.cluster.totals.pairs == sum(len(node.content) for node in self.living.values())


TestAfterOneMoreHeartbeatTheIndexEqualsTheNodes = UnreliableBus.TestCase
TestAfterOneMoreHeartbeatTheIndexEqualsTheNodes.settings = settings(max_examples=200, stateful_step_count=40)


def test_a_node_that_left_is_removed_at_once_and_late_messages_do_not_bring_back_its_content(
    cluster: Cluster,
) -> None:
    node = SimulatedNode("node")
    introduce(cluster, node, moment(0))
    late = node.change(add=(A,))
    cluster.apply(node.left(), moment(1))
    assert cluster.totals.nodes == 0
    assert cluster.apply(late, moment(1)).refusal is Refusal.STALE
    assert cluster.apply(node.snapshot(), moment(1)).refusal is Refusal.STALE
    assert cluster.totals.nodes == 0
    cluster.apply(node.heartbeat(), moment(1))
    assert not cluster.index.holders(A)
    cluster.apply(node.restart(), moment(2))
    assert digests_of(cluster.index, "node") == {A}


def test_a_node_whose_lease_expired_may_come_back_with_the_same_incarnation(cluster: Cluster) -> None:
    node = SimulatedNode("node")
    node.change(add=(A,))
    introduce(cluster, node, moment(0))
    assert cluster.expire(moment(LEASE_S)) == ["node"]
    assert not cluster.index.holders(A)
    introduce(cluster, node, moment(LEASE_S + 1))
    assert digests_of(cluster.index, "node") == {A}


def test_a_lost_node_is_remembered_for_24_hours(cluster: Cluster) -> None:
    node = SimulatedNode("node")
    before = node.change(add=(A,))
    node.restart()
    introduce(cluster, node, moment(0))
    cluster.expire(moment(LEASE_S))
    day_s = 24 * 3600
    assert cluster.apply(before, moment(day_s)).refusal is Refusal.STALE
    cluster.expire(moment(day_s + LEASE_S + 1))
    assert cluster.apply(before, moment(day_s + LEASE_S + 1)).refusal is None


def test_a_node_whose_clock_was_set_back_is_told_the_incarnation_to_exceed(cluster: Cluster) -> None:
    node = SimulatedNode("node")
    introduce(cluster, node, moment(0))
    slow = SimulatedNode("node", incarnation=node.incarnation - 1)
    result = cluster.apply(slow.heartbeat(), moment(2))
    assert result.refusal is Refusal.STALE
    assert result.need == NeedSnapshot("node", node.incarnation, node.addresses)
    slow.incarnation = result.need.incarnation + 1
    introduce(cluster, slow, moment(3))
    assert cluster.totals.nodes_in_sync == 1


def test_a_node_whose_clock_was_set_back_joins_at_once_after_the_earlier_one_left(cluster: Cluster) -> None:
    node = SimulatedNode("node")
    introduce(cluster, node, moment(0))
    cluster.apply(node.left(), moment(1))
    introduce(cluster, SimulatedNode("node", incarnation=node.incarnation - 1), moment(2))
    assert cluster.totals.nodes_in_sync == 1


def test_an_incarnation_far_in_the_future_is_refused(cluster: Cluster) -> None:
    minutes = 60_000_000_000
    node = SimulatedNode("node", incarnation=(NOW_MS * 1_000_000) + 6 * minutes)
    for event in (node.heartbeat(), node.change(add=(A,)), node.snapshot(), node.left()):
        assert cluster.apply(event, moment(0)).refusal is Refusal.AHEAD
    assert cluster.totals.nodes == 0
    near = SimulatedNode("node", incarnation=(NOW_MS * 1_000_000) + 4 * minutes)
    assert cluster.apply(near.heartbeat(), moment(0)).refusal is None


def test_a_tag_set_in_the_future_counts_as_set_in_a_minute(cluster: Cluster) -> None:
    reference = REFERENCES[0]
    fast, right = SimulatedNode("fast"), SimulatedNode("right")
    cluster.apply(fast.change(tag={reference: TagClaim(A, NOW_MS + 10**9)}), moment(0))
    cluster.apply(right.change(tag={reference: TagClaim(B, NOW_MS + 59_000)}), moment(0))
    assert cluster.index.digest_of(reference) == A
    cluster.apply(right.change(tag={reference: TagClaim(C, NOW_MS + 61_000)}), moment(61))
    assert cluster.index.digest_of(reference) == C


def test_tag_times_in_a_snapshot_are_capped_too(cluster: Cluster) -> None:
    node = SimulatedNode("node", tags={REFERENCES[0]: TagClaim(A, NOW_MS + 10**9)})
    introduce(cluster, node, moment(0))
    assert cluster.index._claims._claims[REFERENCES[0]][0].tagged_at_ms == NOW_MS + 60_000


def test_any_message_of_the_current_incarnation_renews_the_lease(cluster: Cluster) -> None:
    node = SimulatedNode("node")
    introduce(cluster, node, moment(0))
    cluster.apply(node.change(add=(A,)), moment(20))
    assert cluster.expire(moment(49)) == []
    cluster.apply(replace(node.heartbeat(), incarnation=node.incarnation - 1), moment(49))
    assert cluster.expire(moment(50)) == ["node"]


def test_the_number_of_nodes_is_bounded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliograph_router.domain.cluster._MAX_NODES", 2)
    refusals = [cluster.apply(SimulatedNode(f"node-{n}").heartbeat(), moment(0)).refusal for n in range(3)]
    assert refusals == [None, None, Refusal.TOO_MANY_NODES]
