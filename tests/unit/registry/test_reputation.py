"""Which peers are asked last."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.reputation import Reputation

PEERS = tuple(Peer(name, (f"{name}:5000",)) for name in "abcd")
nodes = st.sampled_from([peer.node for peer in PEERS])


def order(standing: Reputation, now: float) -> str:
    return "".join(peer.node for peer in standing.order(PEERS, now))


def test_one_that_failed_is_asked_last_for_half_a_minute() -> None:
    standing = Reputation()
    standing.failed("b", 100.0)
    assert order(standing, 129.9) == "acdb"
    assert standing.left_s(110.0) == {"b": 20.0}
    assert standing.left_s(130.0) == {}
    assert order(standing, 130.0) == "abcd"


def test_one_that_lied_is_asked_last_for_an_hour_whatever_it_delivers() -> None:
    standing = Reputation()
    standing.sent_wrong_bytes("a", 0.0)
    standing.delivered("a", 1.0)
    standing.failed("a", 2.0)
    standing.delivered("a", 3.0)
    assert order(standing, 3599.0) == "bcda"
    assert order(standing, 3600.0) == "abcd"


def test_one_that_delivers_again_is_in_good_standing() -> None:
    standing = Reputation()
    standing.failed("a", 0.0)
    standing.delivered("a", 1.0)
    assert order(standing, 1.0) == "abcd"


def test_the_latest_are_told_and_no_more_than_sixteen() -> None:
    standing = Reputation()
    for number in range(40):
        standing.failed(f"node-{number}", float(number) / 10)
    assert standing.last(5.0) == tuple(f"node-{number}" for number in range(39, 23, -1))


def test_it_forgets_the_oldest_rather_than_grow() -> None:
    standing = Reputation()
    for number in range(2000):
        standing.failed(f"node-{number}", 0.0)
    remembered = [number for number in range(2000) if standing.is_last(f"node-{number}", 1.0)]
    assert remembered == list(range(2000 - 1024, 2000))


@given(
    st.lists(st.tuples(nodes, st.sampled_from(["failed", "sent_wrong_bytes", "delivered"]), st.floats(0, 50)))
)
def test_nobody_is_ever_left_out_and_each_group_keeps_its_order(events: list[tuple[str, str, float]]) -> None:
    standing, now = Reputation(), 0.0
    for node, event, later in events:
        now += later
        getattr(standing, event)(node, now)
    ordered = standing.order(PEERS, now)
    last = [standing.is_last(peer.node, now) for peer in ordered]
    assert last == sorted(last)
    for group in (True, False):
        names = [peer.node for peer in ordered if standing.is_last(peer.node, now) is group]
        assert names == sorted(names)
    assert len(ordered) == len(PEERS)
