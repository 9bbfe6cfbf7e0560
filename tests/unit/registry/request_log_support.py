"""Entries of a journal, as short as a test needs them."""

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.request_log import LoggedRequest
from heliograph_registry.mirror.domain.source import NOBODY, FromPeer, Source
from heliograph_registry.mirror.domain.target import Blob, InvalidTarget, Name, Target
from heliograph_shared.digest import digest_of

BLOB = Blob(Name("reg.test", "app"), digest_of(b"blob"))

PEER = FromPeer("node-1")


def entry(
    source: Source = PEER,
    *,
    reason: Reason | None = None,
    at: float = 100.0,
    peer: str = "",
    target: Target | InvalidTarget = BLOB,
    sent_bytes: int = 10,
) -> LoggedRequest:
    """Served from `source`, or not for a `reason`."""
    return LoggedRequest(
        at=at,
        method="GET",
        target=target,
        path="/v2/app/blobs/x",
        peer=peer,
        status=404 if reason else 200,
        source=NOBODY if reason else source,
        reason=reason,
        sent_bytes=sent_bytes,
        seconds=0.02,
        trace_id="",
    )
