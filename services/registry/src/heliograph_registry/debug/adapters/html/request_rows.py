"""Requests as lines of a table."""

from dataclasses import dataclass
from datetime import UTC, datetime

from heliograph_registry.debug.domain.advice import meaning
from heliograph_registry.debug.domain.formatting import age, short, size, took
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


@dataclass(frozen=True, slots=True)
class Row:
    """`tone` is `peer`, `local`, `ordinary` for what is left to upstream, or `bad`; titles say more."""

    at: str
    ago: str
    method: str
    kind: str
    name: str
    detail: str
    detail_title: str
    asker: str
    place: str
    place_title: str
    tone: str
    size: str
    took: str
    trace_id: str


def row(entry: LoggedRequest, now: float) -> Row:
    kind, name, detail = _what(entry)
    place, title, tone = _answer(entry)
    return Row(
        at=datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="milliseconds"),
        ago=age(max(0.0, now - entry.at)),
        method=entry.method,
        kind=kind,
        name=name,
        detail=short(detail) if ":" in detail else detail,
        detail_title=detail,
        asker=entry.peer,
        place=place,
        place_title=title,
        tone=tone,
        size=size(entry.sent_bytes) if entry.sent_bytes else "",
        took=took(entry.seconds) if entry.seconds else "",
        trace_id=entry.trace_id,
    )


def _what(entry: LoggedRequest) -> tuple[str, str, str]:
    match entry.target:
        case Ping():
            return "ping", "/v2/", ""
        case ManifestByTag(name=name, tag=tag):
            return "tag", _named(name), tag
        case ManifestByDigest(name=name, digest=digest):
            return "manifest", _named(name), digest
        case Blob(name=name, digest=digest):
            return "blob", _named(name), digest
        case InvalidTarget():
            return "unknown", entry.path, ""


def _named(name: Name) -> str:
    return f"{name.registry}/{name.repository}" if name.registry else name.repository


def _answer(entry: LoggedRequest) -> tuple[str, str, str]:
    match entry.source:
        case FromPeer(node=node):
            return node, "a peer", "peer"
        case Local():
            return "own store", "this node's content store", "local"
    if entry.reason is None:
        return "broken off", "the client went away before an answer", "ordinary"
    tone = "ordinary" if entry.reason.ordinary else "bad"
    return f"{entry.status} {entry.reason.value}", meaning(entry.reason), tone
