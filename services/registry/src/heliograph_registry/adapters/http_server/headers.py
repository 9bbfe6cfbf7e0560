"""Headers of the registry's answers, in ASGI's form: lists of pairs of bytes with lower-case names."""

from functools import lru_cache
from urllib.parse import quote, unquote

from heliograph_registry.mirror.domain.manifest import Manifest
from heliograph_registry.mirror.domain.source import Source

Headers = list[tuple[bytes, bytes]]

PEER, TRACE = b"heliograph-peer", b"traceparent"


@lru_cache(1024)
def fixed_headers(source: Source) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of every answer. A node's name may contain any character, so it is percent-encoded."""
    return (
        (b"docker-distribution-api-version", b"registry/2.0"),
        (b"heliograph-source", quote(str(source)).encode()),
    )


def manifest_headers(manifest: Manifest) -> Headers:
    return [
        (b"content-type", manifest.media_type.encode()),
        (b"docker-content-digest", manifest.digest.encode()),
        (b"content-length", str(len(manifest.body)).encode()),
    ]


def node_named(header: bytes) -> str:
    """The node in a `Heliograph-Peer` header."""
    return unquote(header.decode("latin-1"))


def trace_id_of(header: bytes) -> str:
    """The trace ID in a `traceparent` header (W3C Trace Context section 3.2); empty if there is none."""
    return header[3:35].decode("latin-1") if len(header) >= 55 and header[35:36] == b"-" else ""
