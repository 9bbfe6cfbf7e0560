"""Formats logged requests as rows of the table "Recent requests"."""

from dataclasses import dataclass
from datetime import UTC, datetime

from heliograph_registry.debug.domain.advice import meaning
from heliograph_registry.debug.domain.formatting import age, duration, short
from heliograph_registry.mirror.domain.request_log import LoggedRequest
from heliograph_registry.mirror.domain.source import FromPeer, Local
from heliograph_registry.mirror.domain.target import (
    Blob,
    InvalidTarget,
    ManifestByDigest,
    ManifestByTag,
    Name,
    Ping,
)
from heliograph_shared.formatting import size


@dataclass(frozen=True, slots=True)
class RequestRow:
    """The cells of a row; `*_title` is shown when the pointer rests on the cell.

    `requester` is the node whose registry sent the request, empty for any other client. `source_tone` is
    `peer`, `local`, `ordinary` for a miss that a healthy cluster has, or `bad`.
    """

    at: str
    ago: str
    method: str
    kind: str
    name: str
    detail: str
    detail_title: str
    requester: str
    source: str
    source_title: str
    source_tone: str
    size: str
    duration: str
    trace_id: str


def request_row(entry: LoggedRequest, now: float) -> RequestRow:
    kind, name, detail = _target(entry)
    source, title, tone = _source(entry)
    return RequestRow(
        at=datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="milliseconds"),
        ago=age(max(0.0, now - entry.at)),
        method=entry.method,
        kind=kind,
        name=name,
        detail=short(detail) if ":" in detail else detail,
        detail_title=detail,
        requester=entry.peer,
        source=source,
        source_title=title,
        source_tone=tone,
        size=size(entry.sent_bytes) if entry.sent_bytes else "",
        duration=duration(entry.seconds) if entry.seconds else "",
        trace_id=entry.trace_id,
    )


def _target(entry: LoggedRequest) -> tuple[str, str, str]:
    match entry.target:
        case Ping():
            return "ping", "/v2/", ""
        case ManifestByTag(name=name, tag=tag):
            return "tag", _qualified(name), tag
        case ManifestByDigest(name=name, digest=digest):
            return "manifest", _qualified(name), digest
        case Blob(name=name, digest=digest):
            return "blob", _qualified(name), digest
        case InvalidTarget():
            return "unknown", entry.path, ""


def _sent_by(senders: tuple[tuple[str, int], ...]) -> str:
    if len(senders) == 1:
        return "a peer"
    parts = ", ".join(f"{node} {size(count)}" for node, count in senders)
    return f"one peer after another: {parts}"


def _qualified(name: Name) -> str:
    return f"{name.registry}/{name.repository}" if name.registry else name.repository


def _source(entry: LoggedRequest) -> tuple[str, str, str]:
    match entry.source:
        case FromPeer():
            return ", ".join(node for node, _ in entry.senders), _sent_by(entry.senders), "peer"
        case Local():
            return "own store", "this node's content store", "local"
    if entry.reason is None:
        return "aborted", "the client went away before a response", "ordinary"
    tone = "ordinary" if entry.reason.ordinary else "bad"
    return f"{entry.status} {entry.reason.value}", meaning(entry.reason), tone
