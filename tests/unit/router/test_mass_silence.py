"""Very many nodes fall silent at the same time."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_router.domain.cluster import Cluster
from heliograph_router.domain.mass_silence import KEEP_S, MassSilence
from tests.unit.router.simulated import DIGESTS, SimulatedNode, introduce, moment

LEASE_S = 30.0


def cluster_of(count: int) -> tuple[Cluster, list[SimulatedNode]]:
    """Nodes that send heartbeats every 10 s, at different times."""
    cluster = Cluster(LEASE_S)
    cluster.leases.link_works(moment(-LEASE_S))
    nodes = [SimulatedNode(f"n{number}", content={DIGESTS[0]: 1}) for number in range(count)]
    for number, node in enumerate(nodes):
        introduce(cluster, node, moment(10 * number / count))
    return cluster, nodes


def pass_time(cluster: Cluster, nodes: list[SimulatedNode], start_s: int, end_s: int) -> list[str]:
    """Let time pass while these nodes send heartbeats; returns the nodes that were lost."""
    lost = []
    for second in range(start_s, end_s):
        if second % 10 == 0:
            for node in nodes:
                cluster.apply(node.heartbeat(), moment(second))
        lost += cluster.expire(moment(second))
    return lost


def test_few_silent_nodes_are_lost_when_their_leases_expire() -> None:
    cluster, nodes = cluster_of(20)
    assert sorted(pass_time(cluster, nodes[6:], 10, 45)) == sorted(node.name for node in nodes[:6])


def test_many_silent_nodes_are_all_kept_for_five_minutes() -> None:
    cluster, nodes = cluster_of(20)
    assert pass_time(cluster, nodes[7:], 10, 300) == []
    stale = {node.name for node in nodes[:7]}
    assert set(cluster.stale) == {node.name for node in cluster.nodes(moment(300)) if node.stale} == stale
    assert cluster.totals.nodes_stale == 7
    assert set(pass_time(cluster, nodes[7:], 300, 45 + int(KEEP_S))) == stale
    assert not cluster.stale


def test_when_enough_nodes_come_back_no_node_is_stale_any_more() -> None:
    cluster, nodes = cluster_of(20)
    pass_time(cluster, nodes[10:], 10, 100)
    assert set(pass_time(cluster, nodes[2:], 100, 140)) == {"n0", "n1"}
    assert not cluster.stale


def test_in_a_small_cluster_most_nodes_may_be_lost() -> None:
    cluster, nodes = cluster_of(5)
    assert len(pass_time(cluster, nodes[4:], 10, 45)) == 4


@given(st.sets(st.sampled_from("abcdefghij")), st.integers(0, 10), st.integers(1, 10))
def test_every_expired_node_is_either_lost_or_stale(expired: set[str], more_silent: int, others: int) -> None:
    silence, silent = MassSilence(), len(expired) + more_silent
    lost = silence.lost(expired, silent=silent, nodes=silent + others, now_s=0)
    assert {*lost, *silence.stale} == expired
    assert not set(lost) & set(silence.stale)
    assert set(silence.lost(expired, silent=silent, nodes=silent + others, now_s=KEEP_S)) == expired
