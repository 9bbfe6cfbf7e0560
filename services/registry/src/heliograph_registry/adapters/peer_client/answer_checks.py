"""Checks the head of a peer's answer: status, digest, encoding, length and range."""

import h11

from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.ranges import ByteRange, Span, parse_content_range
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag
from heliograph_registry.mirror.errors import ManifestTooLarge, PeerFailed, RangeNotSatisfiable
from heliograph_shared.image import MAX_MANIFEST_BYTES

PeerTarget = Blob | ManifestByDigest | ManifestByTag

DIGEST = b"docker-content-digest"
_MAX_DIGITS = 19


def check_answer(peer: Peer, target: PeerTarget, wanted: ByteRange | None, response: h11.Response) -> None:
    """Accept only a 200 or 206 with the requested digest and without an encoding.

    Raises `PeerFailed` or `RangeNotSatisfiable`.
    """
    if response.status_code == 416 and wanted is not None:
        size = header(response, b"content-range").rpartition("/")[2]
        if _is_number(size) and wanted.of(int(size)) is None:
            raise RangeNotSatisfiable(int(size))
    if response.status_code != (200 if wanted is None else 206):
        reason = header(response, b"heliograph-reason")[:40]
        if reason == Reason.NOT_A_MANIFEST:
            raise ManifestTooLarge(peer.node, status=response.status_code)
        raise PeerFailed(
            peer.node,
            f"answered {response.status_code} {reason}".rstrip(),
            healthy=response.status_code in {404, 503},
            status=response.status_code,
        )
    if not isinstance(target, ManifestByTag) and header(response, DIGEST) != target.digest:
        raise PeerFailed(peer.node, "answered with another digest")
    if header(response, b"content-encoding") or header(response, b"transfer-encoding"):
        raise PeerFailed(peer.node, "answered with encoded bytes")


def announced_span(peer: Peer, response: h11.Response, wanted: ByteRange | None) -> Span:
    """The bytes that the answer announces. Raises `PeerFailed` if they are not those that were requested."""
    length = content_length(peer, response)
    if wanted is None:
        return Span(0, length - 1, length)
    span = parse_content_range(header(response, b"content-range"))
    if span is None or span.count != length or span != wanted.of(span.size_bytes):
        raise PeerFailed(peer.node, "answered with another range")
    return span


def check_manifest_size(peer: Peer, target: PeerTarget, size_bytes: int) -> None:
    """Raises `ManifestTooLarge`: a manifest is kept in memory, as long as it is verified at least."""
    if isinstance(target, ManifestByDigest) and size_bytes > MAX_MANIFEST_BYTES:
        raise ManifestTooLarge(peer.node)


def content_length(peer: Peer, response: h11.Response) -> int:
    """Raises `PeerFailed` if the answer does not state its length."""
    length = header(response, b"content-length")
    if not _is_number(length):
        raise PeerFailed(peer.node, "answered without a Content-Length")
    return int(length)


def header(response: h11.Response, name: bytes) -> str:
    """The header's value, empty if there is none; `name` is in lower case."""
    return next((value.decode("latin-1") for key, value in response.headers if key == name), "")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
