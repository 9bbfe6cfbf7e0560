"""The copy of one node: what it applies, what stays pending, and when it needs a snapshot."""

from dataclasses import replace

import pytest

from heliograph_router.domain.events import Changed, ReceivedSnapshot, TagClaim
from heliograph_router.domain.index import Index
from heliograph_router.domain.replica import GAP_S, Replica
from heliograph_shared.digest import Digest
from tests.unit.router.simulated import DIGESTS, REFERENCES, SimulatedNode, digests_of

A, B, C, D = DIGESTS[:4]


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
def node() -> SimulatedNode:
    return SimulatedNode("node")


@pytest.fixture
def replica(index: Index) -> Replica:
    return Replica("node", index)


def test_from_the_first_delta_no_snapshot_is_needed(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    replica.apply_delta(node.change(add=(A, B)), 0)
    replica.apply_delta(node.change(remove=(A,)), 0)
    assert replica.in_sync
    assert digests_of(index, "node") == {B}


def test_a_first_message_in_mid_sequence_needs_a_snapshot_at_once(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    node.change(add=(A,))
    replica.apply_delta(node.change(add=(B,)), 0)
    assert replica.needs_snapshot(0)
    replica.apply_snapshot(node.snapshot(), 0)
    assert replica.in_sync
    assert digests_of(index, "node") == {A, B}


def test_a_late_delta_is_waited_for(index: Index, node: SimulatedNode, replica: Replica) -> None:
    replica.apply_delta(node.change(add=(A,)), 0)
    late = node.change(add=(B,))
    replica.apply_delta(node.change(add=(C,), remove=(B,)), 0)
    assert not replica.needs_snapshot(GAP_S / 2)
    replica.apply_delta(late, GAP_S / 2)
    assert replica.in_sync
    assert digests_of(index, "node") == {A, C}


def test_a_lost_delta_needs_a_snapshot_after_a_second(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    replica.apply_delta(node.change(add=(A,)), 0)
    node.change(add=(B,))
    replica.apply_delta(node.change(add=(C,)), 0)
    replica.apply_delta(node.change(add=(D,)), GAP_S * 0.9)
    assert replica.needs_snapshot(GAP_S)
    replica.apply_snapshot(node.snapshot(), GAP_S)
    assert replica.in_sync
    assert digests_of(index, "node") == {A, B, C, D}


def test_a_heartbeat_with_a_later_sequence_reveals_a_lost_delta(
    node: SimulatedNode, replica: Replica
) -> None:
    replica.apply_delta(node.change(add=(A,)), 0)
    node.change(add=(B,))
    replica.apply_heartbeat(node.heartbeat(), 5)
    assert not replica.in_sync
    assert not replica.needs_snapshot(5 + GAP_S / 2)
    assert replica.needs_snapshot(5 + GAP_S)


def test_a_heartbeat_of_an_earlier_state_is_not_compared(node: SimulatedNode, replica: Replica) -> None:
    replica.apply_delta(node.change(add=(A,)), 0)
    earlier = node.heartbeat()
    replica.apply_delta(node.change(add=(B,)), 0)
    replica.apply_heartbeat(earlier, 0)
    assert replica.in_sync


def test_a_diverged_copy_is_corrected_by_a_snapshot(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    replica.apply_delta(node.change(add=(A, B)), 0)
    index.change("node", added={C: 1}, removed=[A], tagged={}, untagged=[])
    replica.apply_heartbeat(node.heartbeat(), 0)
    assert replica.needs_snapshot(0)
    during = node.snapshot()
    replica.apply_delta(node.change(add=(D,)), 0)
    assert digests_of(index, "node") == {B, C}, "a diverged copy applies no deltas"
    replica.apply_snapshot(during, 0)
    assert replica.in_sync
    assert digests_of(index, "node") == {A, B, D}


def test_a_tag_that_differs_is_detected(index: Index, node: SimulatedNode, replica: Replica) -> None:
    replica.apply_delta(node.change(tag={REFERENCES[0]: TagClaim(A, 1)}), 0)
    node.tags[REFERENCES[0]] = TagClaim(B, 1)
    replica.apply_heartbeat(node.heartbeat(), 0)
    assert replica.needs_snapshot(0)
    replica.apply_snapshot(node.snapshot(), 0)
    assert replica.in_sync
    assert index.digest_of(REFERENCES[0]) == B


def test_deltas_that_arrive_during_a_pull_are_applied_after_the_snapshot(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    node.change(add=(A,))
    replica.apply_heartbeat(node.heartbeat(), 0)
    frozen = node.snapshot()
    replica.apply_delta(node.change(add=(B,)), 0)
    replica.apply_delta(node.change(remove=(A,)), 0)
    replica.apply_snapshot(frozen, 0)
    assert replica.in_sync
    assert digests_of(index, "node") == {B}


def test_an_old_snapshot_does_not_undo_a_newer_copy(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    replica.apply_delta(node.change(add=(A,)), 0)
    old = node.snapshot()
    replica.apply_delta(node.change(remove=(A,)), 0)
    assert not replica.apply_snapshot(old, 0)
    assert digests_of(index, "node") == set()


def test_a_snapshot_that_does_not_match_its_own_inventory_is_used_but_asked_for_again(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    node.change(add=(A, B))
    replica.apply_snapshot(replace(node.snapshot(), content={A: 1}), 0)
    assert digests_of(index, "node") == {A}
    assert replica.needs_snapshot(0)
    replica.apply_snapshot(node.snapshot(), 0)
    assert replica.in_sync


def test_a_new_incarnation_keeps_the_old_content_until_the_snapshot(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    replica.apply_delta(node.change(add=(A, B)), 0)
    node.restart({B: 100, C: 100})
    replica.apply_heartbeat(node.heartbeat(), 0)
    assert replica.needs_snapshot(0)
    assert digests_of(index, "node") == {A, B}
    replica.apply_snapshot(node.snapshot(), 0)
    assert replica.in_sync
    assert digests_of(index, "node") == {B, C}


def test_the_first_delta_of_a_new_incarnation_replaces_the_old_content(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    replica.apply_delta(node.change(add=(A, B)), 0)
    replica.apply_delta(node.restart({C: 100}), 0)
    assert replica.in_sync
    assert digests_of(index, "node") == {C}


def test_the_first_delta_suffices_even_if_it_arrives_last(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    first, second = node.change(add=(A,)), node.change(add=(B,))
    replica.apply_heartbeat(node.heartbeat(), 0)
    replica.apply_delta(second, 0)
    replica.apply_delta(first, 0)
    assert replica.in_sync
    assert digests_of(index, "node") == {A, B}


def test_a_repeated_delta_changes_nothing(index: Index, node: SimulatedNode, replica: Replica) -> None:
    first = node.change(add=(A,))
    replica.apply_delta(first, 0)
    replica.apply_delta(node.change(remove=(A,)), 0)
    assert not replica.apply_delta(first, 0)
    assert digests_of(index, "node") == set()


def test_pending_deltas_are_bounded_and_the_latest_are_kept(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    deltas = [node.change(add=(A,)) for _ in range(1000)]
    for delta in deltas[1:]:
        replica.apply_delta(delta, 0)
    frozen = ReceivedSnapshot("node", node.incarnation, 990, {A: 1}, {}, (), "", node.inventory)
    replica.apply_snapshot(frozen, 0)
    assert replica.in_sync
    assert replica.sequence == 1000


def test_a_huge_delta_in_order_is_applied_although_it_could_not_be_pending(
    index: Index, node: SimulatedNode, replica: Replica
) -> None:
    replica.apply_delta(node.change(add=(A,)), 0)
    many = [Digest(f"sha256:{number:064x}") for number in range(30_000)]
    huge = Changed("node", node.incarnation, 2, {}, many, {}, [])
    replica.apply_delta(huge, 0)
    assert replica.sequence == 2


def test_addresses_are_those_of_the_latest_heartbeat(node: SimulatedNode, replica: Replica) -> None:
    node.change(add=(A,))
    frozen = node.snapshot()
    node.reachable = False
    replica.apply_heartbeat(node.heartbeat(), 0)
    replica.apply_snapshot(frozen, 0)
    assert replica.addresses == ()


def test_before_any_heartbeat_the_addresses_are_those_of_the_snapshot(
    node: SimulatedNode, replica: Replica
) -> None:
    node.change(add=(A,))
    replica.apply_snapshot(node.snapshot(), 0)
    assert replica.addresses == node.addresses
