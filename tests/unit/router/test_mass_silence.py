"""Very many nodes that fall silent at one moment."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_router.domain.cluster import Cluster
from heliograph_router.domain.mass_silence import KEEP_S, MassSilence
from tests.unit.router.simulated import DIGESTS, SimulatedNode, introduce, moment

LEASE_S = 30.0


def cluster_of(count: int) -> tuple[Cluster, list[SimulatedNode]]:
    """Nodes whose heartbeats come every 10 s, not together."""
    cluster = Cluster(LEASE_S)
    cluster.leases.link_works(moment(-LEASE_S))
    nodes = [SimulatedNode(f"n{number}", content={DIGESTS[0]: 1}) for number in range(count)]
    for number, node in enumerate(nodes):
        introduce(cluster, node, moment(10 * number / count))
    return cluster, nodes


def live_on(cluster: Cluster, nodes: list[SimulatedNode], start_s: int, end_s: int) -> list[str]:
    """Time passes, in which these nodes send heartbeats; who was lost."""
    lost = []
    for second in range(start_s, end_s):
        if second % 10 == 0:
            for node in nodes:
                cluster.apply(node.heartbeat(), moment(second))
        lost += cluster.expire(moment(second))
    return lost


def test_few_that_fall_silent_are_lost_with_their_leases() -> None:
    cluster, nodes = cluster_of(20)
    assert sorted(live_on(cluster, nodes[6:], 10, 45)) == sorted(node.name for node in nodes[:6])


def test_many_that_fall_silent_are_kept_for_five_minutes_to_a_node() -> None:
    cluster, nodes = cluster_of(20)
    assert live_on(cluster, nodes[7:], 10, 300) == []
    stale = {node.name for node in nodes[:7]}
    assert set(cluster.stale) == {node.name for node in cluster.nodes(moment(300)) if node.stale} == stale
    assert cluster.totals.nodes_stale == 7
    assert set(live_on(cluster, nodes[7:], 300, 45 + int(KEEP_S))) == stale
    assert not cluster.stale


def test_who_comes_back_is_no_longer_in_doubt_and_then_nor_is_the_rest() -> None:
    cluster, nodes = cluster_of(20)
    live_on(cluster, nodes[10:], 10, 100)
    assert set(live_on(cluster, nodes[2:], 100, 140)) == {"n0", "n1"}
    assert not cluster.stale


def test_of_few_nodes_most_may_be_lost() -> None:
    cluster, nodes = cluster_of(5)
    assert len(live_on(cluster, nodes[4:], 10, 45)) == 4


@given(st.sets(st.sampled_from("abcdefghij")), st.integers(0, 10), st.integers(1, 10))
def test_nothing_is_both_lost_and_kept_and_nothing_is_forgotten(
    over: set[str], more_silent: int, others: int
) -> None:
    silence, silent = MassSilence(), len(over) + more_silent
    lost = silence.lost(over, silent=silent, nodes=silent + others, now_s=0)
    assert {*lost, *silence.stale} == over
    assert not set(lost) & set(silence.stale)
    assert set(silence.lost(over, silent=silent, nodes=silent + others, now_s=KEEP_S)) == over
