"""Two indexers with one node name, and messages that somebody forged or replayed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_router.domain.cluster import Cluster, Refusal
from heliograph_router.domain.events import Left, Moment
from heliograph_router.domain.namesakes import Namesake
from tests.unit.router.simulated import DIGESTS, NOW_MS, SimulatedNode, digests_of, introduce, moment

LEASE_S, MOST_BETWEEN_HEARTBEATS_S = 30.0, 12.0
MINUTE_NS = 60_000_000_000
A, B = DIGESTS[:2]


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster(LEASE_S)
    cluster.leases.link_works(moment(-LEASE_S))
    return cluster


def true_node() -> SimulatedNode:
    return SimulatedNode("node", content={A: 100})


def other_node(later_ns: int = 1) -> SimulatedNode:
    return SimulatedNode("node", incarnation=NOW_MS * 1_000_000 + later_ns, content={B: 100}, zone="other")


def beat(cluster: Cluster, node: SimulatedNode, at: Moment) -> Refusal | None:
    """A heartbeat, and a snapshot if the router asks for one, as a living indexer does."""
    result = cluster.apply(node.heartbeat(), at)
    if result.need is not None:
        cluster.apply(node.snapshot(), at)
    return result.refusal


@pytest.mark.parametrize("later_ns", [0, 1, 4 * MINUTE_NS])
def test_a_forged_or_replayed_departure_hides_a_node_until_its_next_heartbeat(
    cluster: Cluster, later_ns: int
) -> None:
    node = true_node()
    introduce(cluster, node, moment(0))
    cluster.apply(Left("node", node.incarnation + later_ns), moment(1))
    assert cluster.totals.nodes == 0
    beat(cluster, node, moment(1 + MOST_BETWEEN_HEARTBEATS_S))
    assert digests_of(cluster.index, "node") == {A}
    assert cluster.totals.nodes_in_sync == 1


def test_an_incarnation_near_2_63_hides_nobody(cluster: Cluster) -> None:
    node = true_node()
    introduce(cluster, node, moment(0))
    for event in (
        SimulatedNode("node", incarnation=2**63 - 2).heartbeat(),
        Left("node", 2**63 - 1),
        SimulatedNode("node", incarnation=2**63 - 2).snapshot(),
    ):
        assert cluster.apply(event, moment(1)).refusal is Refusal.AHEAD
    assert digests_of(cluster.index, "node") == {A}


def test_a_forged_heartbeat_of_a_later_incarnation_costs_no_content_and_ends_within_a_lease(
    cluster: Cluster,
) -> None:
    node = true_node()
    introduce(cluster, node, moment(0))
    cluster.apply(other_node(4 * MINUTE_NS).heartbeat(), moment(1))
    assert digests_of(cluster.index, "node") == {A}
    for seconds in (2, 10, 20):
        beat(cluster, node, moment(seconds))
    assert cluster.apply(node.heartbeat(), moment(30)).refusal is None
    assert cluster.totals.nodes_in_sync == 1


def test_both_indexers_are_named_while_both_live(cluster: Cluster) -> None:
    node, other = true_node(), other_node()
    introduce(cluster, node, moment(0))
    introduce(cluster, other, moment(1))
    assert beat(cluster, node, moment(2)) is Refusal.STALE
    assert cluster.shared_names(moment(2)) == []
    cluster.apply(other.heartbeat(), moment(11))
    result = cluster.apply(node.heartbeat(), moment(12))
    namesake = Namesake(node.incarnation, node.addresses)
    assert cluster.shared_names(moment(12)) == ["node"]
    (listed,) = cluster.nodes(moment(12))
    assert (listed.incarnation, listed.namesake) == (other.incarnation, namesake)
    assert result.need is not None
    assert (result.need.incarnation, result.need.namesake) == (other.incarnation, namesake)


def test_an_indexer_that_restarted_is_no_namesake_of_itself(cluster: Cluster) -> None:
    node = true_node()
    introduce(cluster, node, moment(0))
    late = node.heartbeat()
    cluster.apply(node.restart(), moment(1))
    cluster.apply(late, moment(1.1))
    cluster.apply(late, moment(2))
    assert cluster.shared_names(moment(2)) == []


def test_a_namesake_that_ended_is_forgotten_after_a_lease(cluster: Cluster) -> None:
    node, other = true_node(), other_node()
    introduce(cluster, node, moment(0))
    introduce(cluster, other, moment(1))
    for seconds in (2, 12):
        beat(cluster, other, moment(seconds))
        beat(cluster, node, moment(seconds))
    for seconds in (22, 32, 42):
        beat(cluster, other, moment(seconds))
    assert cluster.shared_names(moment(42)) == []


@given(
    intervals=st.lists(st.floats(8, MOST_BETWEEN_HEARTBEATS_S), min_size=12, max_size=12),
    other_starts_s=st.floats(0, 20),
    other_lives_s=st.floats(0, 60),
    leaves=st.booleans(),
)
def test_the_one_that_remains_is_back_within_a_lease(
    intervals: list[float], other_starts_s: float, other_lives_s: float, *, leaves: bool
) -> None:
    cluster = Cluster(LEASE_S)
    cluster.leases.link_works(moment(-LEASE_S))
    node, other = true_node(), other_node()
    introduce(cluster, node, moment(0))
    ends_s = other_starts_s + other_lives_s
    times = [sum(intervals[:number]) for number in range(1, len(intervals) + 1)]
    steps = [(seconds, node) for seconds in times]
    steps += [(other_starts_s + 10 * number, other) for number in range(int(other_lives_s // 10) + 1)]
    back_s = None
    left = False
    for seconds, who in sorted(steps, key=lambda step: step[0]):
        if seconds > ends_s and leaves and not left:
            cluster.apply(other.left(), moment(ends_s))
            left = True
        cluster.expire(moment(seconds))
        beat(cluster, who, moment(seconds))
        if seconds > ends_s and back_s is None and digests_of(cluster.index, "node") == {A}:
            back_s = seconds
    assert back_s is not None
    within_s = MOST_BETWEEN_HEARTBEATS_S if leaves else LEASE_S
    assert back_s - ends_s <= within_s
