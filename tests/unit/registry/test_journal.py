"""The journal keeps the last requests, and sums that last longer."""

from heliograph_registry.domain.exchange import Share
from heliograph_registry.domain.journal import Journal
from heliograph_registry.domain.target import Ping
from tests.unit.registry.journal_support import entry


def test_the_latest_come_first_and_the_oldest_are_dropped() -> None:
    journal = Journal()
    for number in range(1_000):
        journal.record(entry(at=number))
    kept = [one.at for one in journal.latest()]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == 999
    assert len(kept) == 256
    assert journal.client_bytes == 10_000


def test_what_is_told_late_is_put_in_its_place() -> None:
    journal = Journal()
    journal.record(entry(at=1))
    journal.record(entry(at=3))
    late = [entry("local", at=2)]
    journal.ask_also(lambda: [late.pop()] if late else [])
    assert [one.at for one in journal.latest()] == [3, 2, 1]
    assert [one.at for one in journal.latest()] == [3, 2, 1]
    assert journal.client_bytes == 20


def test_what_peers_were_given_is_counted_by_peer() -> None:
    journal = Journal()
    journal.record(entry("local", peer="node-2", sent_bytes=7))
    journal.record(entry(reason="not-local", peer="node-3", sent_bytes=90))
    assert journal.given.shares(9)[0] == (Share("node-2", 7, 1),)
    assert journal.client_bytes == 0


def test_the_last_that_came_from_a_peer_outlives_the_list() -> None:
    journal = Journal()
    journal.record(entry("peer/node-9", at=1))
    for number in range(300):
        journal.record(entry("local", at=2 + number))
    assert journal.last_mirrored is not None
    assert journal.last_mirrored.source_node == "node-9"


def test_a_ping_is_not_worth_a_line() -> None:
    journal = Journal()
    journal.record(entry("local", target=Ping()))
    assert journal.latest() == []


def test_only_what_clients_ask_for_content_is_a_pull() -> None:
    assert entry().is_pull
    assert entry(reason="not-found").is_pull
    assert not entry(peer="node-2").is_pull
    assert not entry(target=Ping()).is_pull
