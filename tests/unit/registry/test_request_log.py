"""The request log keeps the last requests, and sums since the start."""

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.request_log import RequestLog
from heliograph_registry.mirror.domain.source import LOCAL, FromPeer
from heliograph_registry.mirror.domain.target import Ping
from heliograph_registry.mirror.domain.traffic import Share
from tests.unit.registry.request_log_support import entry


def test_the_latest_come_first_and_the_oldest_are_dropped() -> None:
    request_log = RequestLog()
    for number in range(1_000):
        request_log.record(entry(at=number))
    kept = [one.at for one in request_log.latest()]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == 999
    assert len(kept) == 256
    assert request_log.client_bytes == 10_000


def test_entries_that_are_added_late_are_sorted_in() -> None:
    request_log = RequestLog()
    request_log.record(entry(at=1))
    request_log.record(entry(at=3))
    late = [entry(LOCAL, at=2)]
    request_log.add_source(lambda: [late.pop()] if late else [])
    assert [one.at for one in request_log.latest()] == [3, 2, 1]
    assert [one.at for one in request_log.latest()] == [3, 2, 1]
    assert request_log.client_bytes == 20


def test_bytes_sent_to_peers_are_counted_by_peer() -> None:
    request_log = RequestLog()
    request_log.record(entry(LOCAL, peer="node-2", sent_bytes=7))
    request_log.record(entry(reason=Reason.NOT_LOCAL, peer="node-3", sent_bytes=90))
    assert request_log.sent.shares(9)[0] == (Share("node-2", 7, 1),)
    assert request_log.client_bytes == 0


def test_the_last_request_served_from_a_peer_is_kept_longer_than_the_list() -> None:
    request_log = RequestLog()
    request_log.record(entry(FromPeer("node-9"), at=1))
    for number in range(300):
        request_log.record(entry(LOCAL, at=2 + number))
    assert request_log.last_mirrored is not None
    assert request_log.last_mirrored.source == FromPeer("node-9")


def test_a_ping_is_not_logged() -> None:
    request_log = RequestLog()
    request_log.record(entry(LOCAL, target=Ping()))
    assert request_log.latest() == []


def test_only_a_clients_request_for_content_is_a_pull() -> None:
    assert entry().is_pull
    assert entry(reason=Reason.NOT_FOUND).is_pull
    assert not entry(peer="node-2").is_pull
    assert not entry(target=Ping()).is_pull
