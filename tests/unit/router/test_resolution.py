"""The answers to queries."""

import random

import pytest

from heliograph_router.domain.cluster import Cluster
from heliograph_router.domain.events import TagClaim
from heliograph_router.domain.resolution import (
    ByDigest,
    ByTag,
    Key,
    KeyAnswer,
    KeyResolver,
    NotAKey,
    Query,
    Status,
)
from heliograph_router.domain.selection import Selector
from tests.unit.router.simulated import DIGESTS, REFERENCES, SimulatedNode, introduce, moment

A, B = DIGESTS[:2]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(30)


def ask(cluster: Cluster, *keys: Key, node: str = "requester", complete: bool = True) -> list[KeyAnswer]:
    random_below = random.Random(1).randrange
    resolver = KeyResolver(cluster, Selector(random_below), random_below)
    return resolver.resolve(Query(keys, 3, node, "", frozenset()), 0, complete=complete)


def join(cluster: Cluster, node: SimulatedNode) -> None:
    introduce(cluster, node, moment(0))


def test_keys_are_answered_in_order(cluster: Cluster) -> None:
    join(cluster, SimulatedNode("a", content={A: 7}, tags={REFERENCES[0]: TagClaim(A, 1)}, zone="z"))
    keys: list[Key] = [ByDigest(B), ByTag(REFERENCES[0]), NotAKey(), ByDigest(A), ByTag(REFERENCES[1])]
    missing, tagged, invalid, found, untagged = ask(cluster, *keys)
    assert missing == KeyAnswer(Status.NOT_FOUND)
    assert invalid == KeyAnswer(Status.INVALID_KEY)
    assert untagged == KeyAnswer(Status.NOT_FOUND)
    assert found == tagged
    assert (found.status, found.digest, found.size_bytes) == (Status.FOUND, A, 7)
    (holder,) = found.holders
    assert (holder.node, holder.addresses, holder.zone) == ("a", ("a:5000",), "z")


def test_the_asker_is_never_named(cluster: Cluster) -> None:
    join(cluster, SimulatedNode("requester", content={A: 7}))
    assert ask(cluster, ByDigest(A)) == [KeyAnswer(Status.NOT_FOUND)]
    assert ask(cluster, ByDigest(A), node="other")[0].status is Status.FOUND


def test_a_tag_is_found_even_when_only_the_asker_has_it(cluster: Cluster) -> None:
    join(cluster, SimulatedNode("requester", content={A: 7}, tags={REFERENCES[0]: TagClaim(A, 1)}))
    assert ask(cluster, ByTag(REFERENCES[0])) == [KeyAnswer(Status.FOUND, A, 7)]


def test_a_node_without_addresses_is_not_named(cluster: Cluster) -> None:
    join(cluster, SimulatedNode("a", content={A: 7}, reachable=False))
    assert ask(cluster, ByDigest(A)) == [KeyAnswer(Status.NOT_FOUND)]


def test_while_the_index_is_incomplete_a_miss_is_not_synced(
    cluster: Cluster,
) -> None:
    join(cluster, SimulatedNode("a", content={A: 7}))
    found, missing, invalid, tag = ask(
        cluster, ByDigest(A), ByDigest(B), NotAKey(), ByTag(REFERENCES[0]), complete=False
    )
    assert found.status is Status.FOUND
    assert missing.status is tag.status is Status.NOT_SYNCED
    assert invalid.status is Status.INVALID_KEY


def test_of_many_holders_the_only_one_with_an_address_is_found(cluster: Cluster) -> None:
    for number in range(300):
        join(cluster, SimulatedNode(f"n{number}", content={A: 7}, reachable=number == 150))
    (found,) = ask(cluster, ByDigest(A))
    assert [holder.node for holder in found.holders] == ["n150"]


def first_named(resolver: KeyResolver, now_s: float, *, node: str = "requester", failed: str = "") -> str:
    query = Query([ByDigest(A)], 3, node, "", frozenset([failed] if failed else []))
    (found,) = resolver.resolve(query, now_s, complete=True)
    return found.holders[0].node


def test_a_node_that_failed_one_asker_is_named_last_to_all_for_ten_seconds(cluster: Cluster) -> None:
    join(cluster, SimulatedNode("bad", content={A: 7}))
    join(cluster, SimulatedNode("good", content={A: 7}))
    random_below = random.Random(1).randrange
    resolver = KeyResolver(cluster, Selector(random_below), random_below)
    assert first_named(resolver, 0, failed="bad") == "good"
    assert {first_named(resolver, 9.9, node=f"other{number}") for number in range(20)} == {"good"}
    assert "bad" in {first_named(resolver, 10.1, node=f"other{number}") for number in range(20)}


def test_the_only_holder_is_named_even_if_it_was_reported(cluster: Cluster) -> None:
    join(cluster, SimulatedNode("bad", content={A: 7}))
    random_below = random.Random(1).randrange
    resolver = KeyResolver(cluster, Selector(random_below), random_below)
    assert first_named(resolver, 0, failed="bad") == "bad"


def test_a_report_about_the_asker_itself_is_ignored(cluster: Cluster) -> None:
    join(cluster, SimulatedNode("a", content={A: 7}))
    join(cluster, SimulatedNode("b", content={A: 7}))
    random_below = random.Random(1).randrange
    resolver = KeyResolver(cluster, Selector(random_below), random_below)
    first_named(resolver, 0, node="a", failed="a")
    assert {first_named(resolver, 1, node=f"other{number}") for number in range(20)} == {"a", "b"}


def test_stale_nodes_are_named_last() -> None:
    cluster = Cluster(30)
    cluster.leases.link_works(moment(-30))
    for number in range(10):
        join(cluster, SimulatedNode(f"n{number}", content={A: 7}))
    living = SimulatedNode("living", content={A: 7})
    introduce(cluster, living, moment(31))
    assert cluster.expire(moment(31)) == []
    assert {ask(cluster, ByDigest(A))[0].holders[0].node for _ in range(20)} == {"living"}


def test_a_wrong_size_is_its_node_s_alone_and_ends_with_it(cluster: Cluster) -> None:
    for node in ("right", "also-right"):
        join(cluster, SimulatedNode(node, content={A: 7}))
    liar = SimulatedNode("wrong", content={A: 1})
    join(cluster, liar)
    (found,) = ask(cluster, ByDigest(A))
    assert [(holder.node == "wrong", holder.size_bytes) for holder in found.holders] == [
        (False, 7),
        (False, 7),
        (True, 1),
    ]
    assert found.size_bytes == 0
    cluster.apply(liar.left(), moment(1))
    (found,) = ask(cluster, ByDigest(A))
    assert (found.size_bytes, [holder.size_bytes for holder in found.holders]) == (7, [7, 7])
