"""Requests as lines of a table."""

from dataclasses import dataclass
from datetime import UTC, datetime

from heliograph_registry.domain.advice import meaning
from heliograph_registry.domain.journal import Entry
from heliograph_registry.domain.target import Blob, InvalidTarget, ManifestByDigest, ManifestByTag, Name, Ping
from heliograph_registry.domain.wording import age, short, size, took


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


def row(entry: Entry, now: float) -> Row:
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


def _what(entry: Entry) -> tuple[str, str, str]:
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


def _answer(entry: Entry) -> tuple[str, str, str]:
    if entry.served:
        if entry.source_node:
            return entry.source_node, "a peer", "peer"
        return "own store", "this node's content store", "local"
    if entry.status == 0:
        return "broken off", "the client went away before an answer", "ordinary"
    reason = entry.reason or "unknown"
    ordinary = reason in {"not-found", "not-local", "go-upstream", "filtered"}
    return f"{entry.status} {reason}", meaning(reason), "ordinary" if ordinary else "bad"
