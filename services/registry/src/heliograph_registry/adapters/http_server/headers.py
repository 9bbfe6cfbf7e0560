"""The headers that the registry's answers share, as uvicorn takes them: lists of lower-case byte pairs."""

from functools import lru_cache
from urllib.parse import quote, unquote

from heliograph_registry.mirror.domain.manifest import Manifest
from heliograph_registry.mirror.domain.source import Source

Headers = list[tuple[bytes, bytes]]

PEER, TRACE = b"heliograph-peer", b"traceparent"


@lru_cache(1024)
def fixed_headers(source: Source) -> tuple[tuple[bytes, bytes], ...]:
    """Every answer has these; a node's name may hold any character, so it is percent-encoded."""
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
    """The trace ID of a `traceparent` header (W3C Trace Context section 3.2); empty when there is none."""
    return header[3:35].decode("latin-1") if len(header) >= 55 and header[35:36] == b"-" else ""
