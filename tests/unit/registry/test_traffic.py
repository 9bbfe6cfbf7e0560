"""All bytes are counted, however many nodes there are."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.traffic import Traffic

additions = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 1 << 30)), max_size=900)


@given(additions, st.integers(0, 20))
def test_shares_and_the_rest_are_all_that_was_added(added: list[tuple[int, int]], most: int) -> None:
    traffic = Traffic()
    for number, size_bytes in added:
        traffic.add(f"node-{number}", size_bytes)
    named, rest = traffic.shares(most)
    assert len(named) <= most
    assert list(named) == sorted(named, key=lambda share: (-share.size_bytes, share.node))
    assert sum(share.size_bytes for share in (*named, rest)) == traffic.size_bytes == sum(n for _, n in added)
    assert sum(share.times for share in (*named, rest)) == len(added)


def test_of_very_many_nodes_those_with_most_bytes_stay_separate() -> None:
    traffic = Traffic()
    traffic.add("large", 1 << 30)
    for number in range(10_000):
        traffic.add(f"node-{number}", 1)
    named, rest = traffic.shares(1_000)
    assert len(named) <= 257
    assert named[0].node == "large"
    assert rest.size_bytes > 9_000


def test_a_name_that_no_node_can_have_is_counted_with_the_others() -> None:
    traffic = Traffic()
    traffic.add("", 3)
    traffic.add("x" * 254, 4)
    named, rest = traffic.shares(5)
    assert named == ()
    assert (rest.size_bytes, rest.times) == (7, 2)
