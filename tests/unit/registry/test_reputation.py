"""Which peers are asked last."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.reputation import Reputation

PEERS = tuple(Peer(name, (f"{name}:5000",)) for name in "abcd")
nodes = st.sampled_from([peer.node for peer in PEERS])


def order(reputation: Reputation, now: float) -> str:
    return "".join(peer.node for peer in reputation.order(PEERS, now))


def test_a_peer_that_failed_is_asked_last_for_half_a_minute() -> None:
    reputation = Reputation()
    reputation.failed("b", 100.0)
    assert order(reputation, 129.9) == "acdb"
    assert reputation.left_s(110.0) == {"b": 20.0}
    assert reputation.left_s(130.0) == {}
    assert order(reputation, 130.0) == "abcd"


def test_a_peer_that_sent_wrong_bytes_is_asked_last_for_an_hour_whatever_it_delivers() -> None:
    reputation = Reputation()
    reputation.sent_wrong_bytes("a", 0.0)
    reputation.delivered("a", 1.0)
    reputation.failed("a", 2.0)
    reputation.delivered("a", 3.0)
    assert order(reputation, 3599.0) == "bcda"
    assert order(reputation, 3600.0) == "abcd"


def test_a_peer_that_delivers_again_is_no_longer_asked_last() -> None:
    reputation = Reputation()
    reputation.failed("a", 0.0)
    reputation.delivered("a", 1.0)
    assert order(reputation, 1.0) == "abcd"


def test_the_latest_sixteen_are_listed() -> None:
    reputation = Reputation()
    for number in range(40):
        reputation.failed(f"node-{number}", float(number) / 10)
    assert reputation.last(5.0) == tuple(f"node-{number}" for number in range(39, 23, -1))


def test_the_oldest_are_forgotten_beyond_a_limit() -> None:
    reputation = Reputation()
    for number in range(2000):
        reputation.failed(f"node-{number}", 0.0)
    remembered = [number for number in range(2000) if reputation.is_last(f"node-{number}", 1.0)]
    assert remembered == list(range(2000 - 1024, 2000))


@given(
    st.lists(st.tuples(nodes, st.sampled_from(["failed", "sent_wrong_bytes", "delivered"]), st.floats(0, 50)))
)
def test_no_peer_is_left_out_and_each_group_keeps_its_order(events: list[tuple[str, str, float]]) -> None:
    reputation, now = Reputation(), 0.0
    for node, event, later in events:
        now += later
        getattr(reputation, event)(node, now)
    ordered = reputation.order(PEERS, now)
    last = [reputation.is_last(peer.node, now) for peer in ordered]
    assert last == sorted(last)
    for group in (True, False):
        names = [peer.node for peer in ordered if reputation.is_last(peer.node, now) is group]
        assert names == sorted(names)
    assert len(ordered) == len(PEERS)
