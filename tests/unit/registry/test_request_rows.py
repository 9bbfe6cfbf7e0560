"""The cells of a row of "Recent requests"."""

from heliograph_registry.debug.adapters.html.request_rows import request_row
from heliograph_registry.mirror.domain.source import LOCAL
from tests.unit.registry.request_log_support import entry


def test_a_request_that_one_peer_served_names_it() -> None:
    row = request_row(entry(sent_bytes=2048), 100.0)
    assert (row.source, row.source_title, row.source_tone) == ("node-1", "a peer", "peer")


def test_after_a_takeover_each_peer_is_named_with_its_bytes() -> None:
    row = request_row(entry()._replace(sent_by=(("node-1", 1024), ("node-2", 1 << 20))), 100.0)
    assert (row.source, row.source_tone) == ("node-1, node-2", "peer")
    assert row.source_title == "one peer after another: node-1 1 KiB, node-2 1 MiB"


def test_the_own_store_names_no_peer() -> None:
    assert entry(LOCAL).senders == ()
    assert request_row(entry(LOCAL), 100.0).source == "own store"
