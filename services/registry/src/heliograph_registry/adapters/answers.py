"""Whole answers to GETs of this node's manifests, found by the request's target as it came.

A roll-out asks every node for the same few manifests many times over: these skip all that an unknown request
needs, uvicorn's task and messages included. A request that may have to be traced is not among them.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass

from heliograph_registry.adapters.metrics import AtOnce, Metrics
from heliograph_registry.adapters.request import Headers, fixed_headers, manifest_headers
from heliograph_registry.ahead import FRESH_S, Ahead
from heliograph_registry.blobs import LOCAL
from heliograph_registry.domain.manifest import Manifest
from heliograph_registry.domain.target import ManifestByDigest
from heliograph_shared import telemetry

_KEPT_BYTES = 8 << 20
_PEER = b"heliograph-peer"
_EVEN = frozenset(b"%x" % digit for digit in range(0, 16, 2))


@dataclass(slots=True)
class _Kept:
    manifest: Manifest
    answer: bytes
    to_clients: AtOnce
    to_peers: AtOnce
    expect_at: float = 0.0


class Answers:
    """At most 8 MiB; the least recently used are dropped."""

    def __init__(self, ahead: Ahead, metrics: Metrics) -> None:
        self._ahead, self._metrics = ahead, metrics
        self._traced, self._follows = telemetry.enabled(), telemetry.follows_parents()
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._kept_bytes = 0

    def keep(self, url: bytes, manifest: Manifest, target: ManifestByDigest) -> None:
        """`url` is the request's target as it came; the manifest is one that this node holds."""
        if url in self._kept:
            return
        length = (b"content-length", str(len(manifest.body)).encode())
        headers = [*manifest_headers(manifest), length, *fixed_headers(LOCAL)]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        self._kept[url] = _Kept(
            manifest, lines + b"\r\n" + manifest.body, *self._metrics.at_once(target.name.registry)
        )
        self._kept_bytes += len(url) + len(self._kept[url].answer)
        while self._kept_bytes > _KEPT_BYTES:
            dropped, kept = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped) + len(kept.answer)

    def get(self, url: bytes, headers: Headers) -> bytes | None:
        """What follows the status line: header lines, an empty line and the body."""
        kept = self._kept.get(url)
        if kept is None or (self._traced and not (self._follows and _is_not_traced(headers))):
            return None
        self._kept.move_to_end(url)
        counted = kept.to_clients
        for name, _ in headers:
            if name == _PEER:
                counted = kept.to_peers
                break
        counted.count += 1
        counted.sent_bytes += len(kept.manifest.body)
        if counted is kept.to_clients and (now := time.monotonic()) >= kept.expect_at:
            kept.expect_at = now + FRESH_S
            self._ahead.expect(kept.manifest)
        return kept.answer


def _is_not_traced(headers: Headers) -> bool:
    """Whether the caller says so: the last bit of the flags is `sampled` (W3C Trace Context, section 3.2)."""
    return any(name == b"traceparent" and value[-1:] in _EVEN for name, value in headers)
