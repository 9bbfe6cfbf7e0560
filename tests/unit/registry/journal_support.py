"""Entries of a journal, as short as a test needs them."""

from heliograph_registry.domain.journal import Entry
from heliograph_registry.domain.target import Blob, InvalidTarget, Name, Target
from heliograph_shared.digest import digest_of

BLOB = Blob(Name("reg.test", "app"), digest_of(b"blob"))


def entry(
    source: str = "peer/node-1",
    *,
    reason: str = "",
    at: float = 100.0,
    peer: str = "",
    target: Target | InvalidTarget = BLOB,
    sent_bytes: int = 10,
) -> Entry:
    """Served from `source`, or not for a `reason`."""
    return Entry(
        at=at,
        method="GET",
        target=target,
        path="/v2/app/blobs/x",
        peer=peer,
        status=404 if reason else 200,
        source="none" if reason else source,
        reason=reason,
        sent_bytes=sent_bytes,
        seconds=0.02,
        trace_id="",
    )
