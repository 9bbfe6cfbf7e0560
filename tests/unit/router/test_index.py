"""The index, compared with a simple model: a dictionary of what each node holds."""

from random import Random, randrange

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_router.domain.events import TagClaim
from heliograph_router.domain.index import Index
from heliograph_shared.digest import Digest
from tests.unit.router.simulated import DIGESTS, REFERENCES, assert_consistent, inventory_of

NODES = ["a", "b", "c"]

contents = st.dictionaries(st.sampled_from(DIGESTS), st.integers(0, 5))
tags = st.dictionaries(
    st.sampled_from(REFERENCES), st.builds(TagClaim, st.sampled_from(DIGESTS[:3]), st.integers(0, 3))
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["change", "replace", "remove", "sweep"]),
        st.sampled_from(NODES),
        contents,
        tags,
        st.lists(st.sampled_from(DIGESTS)),
        st.lists(st.sampled_from(REFERENCES)),
    ),
    max_size=12,
)


def winner(claims: list[TagClaim]) -> Digest | None:
    """The rule of the contract, literally."""
    digests = {tag.digest for tag in claims}
    return max(
        digests,
        key=lambda digest: (min(tag.tagged_at_ms for tag in claims if tag.digest == digest), digest),
        default=None,
    )


@given(steps)
def test_it_equals_the_model(history: list[tuple[str, str, dict, dict, list, list]]) -> None:  # type: ignore[type-arg]
    index = Index()
    model: dict[str, tuple[dict[Digest, int], dict[str, TagClaim]]] = {}
    for kind, node, content, tagged, gone, untagged in history:
        digests, named = model.setdefault(node, ({}, {}))
        match kind:
            case "change":
                index.change(node, added=content, removed=gone, tagged=tagged, untagged=untagged)
                model[node] = (
                    {digest: size for digest, size in digests.items() if digest not in gone} | content,
                    {reference: tag for reference, tag in named.items() if reference not in untagged}
                    | tagged,
                )
            case "replace":
                index.replace(node, content, tagged)
                model[node] = (content, tagged)
            case "remove":
                index.remove(node)
                del model[node]
            case "sweep":
                index.sweep()
        assert_consistent(index)
        for digest in DIGESTS:
            assert (
                set(index.holders(digest))
                == set(index.some_holders(digest, 99, randrange))
                == {name for name, (digests, _) in model.items() if digest in digests}
            )
        for reference in REFERENCES:
            claims = [named[reference] for _, named in model.values() if reference in named]
            assert index.digest_of(reference) == winner(claims)
            assert index.tagged_on(reference) == len(claims)
            assert not claims or reference in index.references()
        for name, (digests, named) in model.items():
            assert index.inventory(name) == inventory_of(digests, named)
            assert index.count_of(name) == (len(digests), len(named))
            assert {digest: index.size_on(name, digest) for digest in digests} == digests
    assert_common_sizes(index, [digests for digests, _ in model.values()])


def assert_common_sizes(index: Index, contents: list[dict[Digest, int]]) -> None:
    while index.sweep():
        pass
    for digest in DIGESTS:
        stated = [content[digest] for content in contents if digest in content]
        most = max(map(stated.count, stated), default=0)
        assert index.size_bytes(digest) in ({size for size in stated if stated.count(size) == most} or {0})


def test_a_wrong_size_costs_memory_only_for_those_that_state_it() -> None:
    index, honest = Index(), [f"honest-{number}" for number in range(100)]
    index.replace("wrong", dict.fromkeys(DIGESTS, 1), {})
    for node in honest:
        index.replace(node, dict.fromkeys(DIGESTS, 7), {})
    assert sum(map(len, index._postings.other_sizes.values())) == len(DIGESTS)
    assert (index.size_on("wrong", DIGESTS[0]), index.size_on(honest[0], DIGESTS[0])) == (1, 7)
    index.remove("wrong")
    index.sweep()
    assert not index._postings.other_sizes
    assert index.size_bytes(DIGESTS[0]) == 7


def test_a_size_can_be_corrected_by_a_delta_and_by_a_snapshot() -> None:
    index = Index()
    index.replace("a", {DIGESTS[0]: 1}, {})
    index.change("a", added={DIGESTS[0]: 7}, removed=(), tagged={}, untagged=())
    assert index.size_on("a", DIGESTS[0]) == 7
    index.replace("a", {DIGESTS[0]: 8}, {})
    assert index.size_on("a", DIGESTS[0]) == 8
    assert index.count_of("a") == (1, 0)


def test_a_late_repull_of_an_old_digest_does_not_move_the_tag() -> None:
    index, (old, new) = Index(), DIGESTS[:2]
    reference = REFERENCES[0]
    index.replace("first", {}, {reference: TagClaim(old, 10)})
    index.replace("second", {}, {reference: TagClaim(new, 20)})
    index.replace("late", {}, {reference: TagClaim(old, 30)})
    assert index.digest_of(reference) == new


def test_without_a_node_that_has_the_newest_digest_the_tag_moves_back() -> None:
    index, (old, new) = Index(), DIGESTS[:2]
    reference = REFERENCES[0]
    index.replace("first", {}, {reference: TagClaim(old, 10)})
    index.replace("second", {}, {reference: TagClaim(new, 20)})
    assert index.digest_of(reference) == new
    index.remove("second")
    assert index.digest_of(reference) == old


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_tags_set_at_the_same_time_the_higher_digest_wins(order: tuple[int, int]) -> None:
    index = Index()
    for place in order:
        index.replace(f"node-{place}", {}, {REFERENCES[0]: TagClaim(DIGESTS[place], 10)})
    assert index.digest_of(REFERENCES[0]) == max(DIGESTS[:2])


def test_what_nobody_holds_has_no_holders_and_no_size() -> None:
    index = Index()
    assert not index.holders(DIGESTS[0])
    assert index.size_bytes(DIGESTS[0]) == 0
    assert index.digest_of(REFERENCES[0]) is None


def test_a_size_is_known_while_somebody_holds_it() -> None:
    index = Index()
    index.replace("a", {DIGESTS[0]: 7}, {})
    assert index.size_bytes(DIGESTS[0]) == 7
    index.remove("a")
    assert index.sweep()
    assert index.size_bytes(DIGESTS[0]) == 0


def test_a_removed_node_is_hidden_before_it_is_swept() -> None:
    index = Index()
    for node in "ab":
        index.replace(node, {DIGESTS[0]: 7}, {REFERENCES[0]: TagClaim(DIGESTS[0], 1)})
    index.remove("a")
    assert index.holders(DIGESTS[0]) == ["b"]
    index.replace("a", {DIGESTS[1]: 7}, {})
    assert (index.holders(DIGESTS[0]), index.holders(DIGESTS[1])) == (["b"], ["a"])
    index.remove("b")
    assert index.holders(DIGESTS[0]) == []
    assert index.digest_of(REFERENCES[0]) is None
    assert index.digests == 2
    assert [index.sweep() for _ in range(3)] == [True, True, False]
    assert (index.digests, index.tags, index.pairs) == (1, 0, 1)


def test_of_many_holders_a_random_sample_is_drawn() -> None:
    index, random = Index(), Random(1)
    for number in range(1000):
        index.replace(f"node-{number}", {DIGESTS[0]: 7}, {})
    drawn = index.some_holders(DIGESTS[0], 64, random.randrange)
    assert 50 < len(set(drawn)) == len(drawn) <= 64
    assert {node for _ in range(200) for node in index.some_holders(DIGESTS[0], 64, random.randrange)} == {
        f"node-{number}" for number in range(1000)
    }


def test_when_all_slots_are_used_those_of_removed_nodes_are_reused() -> None:
    index = Index()
    for number in range(1 << 16):
        index.replace(f"node-{number}", {}, {})
    index.remove("node-7")
    index.replace("one-more", {DIGESTS[0]: 7}, {})
    assert index.holders(DIGESTS[0]) == ["one-more"]
    assert_consistent(index)
