"""Complete answers to GETs of this node's manifests, found by the request's path and query as they came.

A rollout asks every node for the same few manifests many times. These answers skip the application, uvicorn's
task and its messages. A request that may have to be traced is not answered here.
"""

import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from heliograph_registry.adapters.http_server.headers import (
    PEER,
    Headers,
    fixed_headers,
    manifest_headers,
    node_named,
)
from heliograph_registry.adapters.metrics import AtOnce, RegistryMetrics
from heliograph_registry.mirror.domain.manifest import Manifest
from heliograph_registry.mirror.domain.request_log import LoggedRequest, RequestLog
from heliograph_registry.mirror.domain.source import LOCAL
from heliograph_registry.mirror.domain.target import ManifestByDigest
from heliograph_registry.mirror.lookahead import FRESH_S, Lookahead
from heliograph_shared import telemetry

_KEPT_BYTES = 8 << 20
_MOST_LATEST = 64
_EVEN = frozenset(b"%x" % digit for digit in range(0, 16, 2))


@dataclass(slots=True)
class _Kept:
    target: ManifestByDigest
    manifest: Manifest
    answer: bytes
    to_clients: AtOnce
    to_peers: AtOnce
    expect_at: float = 0.0


class ManifestCache:
    """At most 8 MiB; the least recently used are dropped."""

    def __init__(self, lookahead: Lookahead, metrics: RegistryMetrics, request_log: RequestLog) -> None:
        """`journal` is told what was answered only when somebody looks at it: the way here is a quick one."""
        self._lookahead, self._metrics = lookahead, metrics
        self._traced, self._follows = telemetry.enabled(), telemetry.follows_parents()
        self._latest: deque[tuple[float, ManifestByDigest, bytes, int]] = deque(maxlen=_MOST_LATEST)
        request_log.ask_also(self._entries)
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._kept_bytes = 0

    def keep(self, url: bytes, manifest: Manifest, target: ManifestByDigest) -> None:
        """`url` is the request's target as it came; the manifest is one that this node holds."""
        if url in self._kept:
            return
        headers = [*manifest_headers(manifest), *fixed_headers(LOCAL)]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        self._kept[url] = _Kept(
            target, manifest, lines + b"\r\n" + manifest.body, *self._metrics.at_once(target.name.registry)
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
        counted, peer = kept.to_clients, b""
        for name, value in headers:
            if name == PEER:
                counted, peer = kept.to_peers, value
                break
        size_bytes, now = len(kept.manifest.body), time.monotonic()
        counted.count += 1
        counted.sent_bytes += size_bytes
        if now >= kept.expect_at and not peer:
            kept.expect_at = now + FRESH_S
            self._lookahead.expect(kept.manifest)
        self._latest.append((now, kept.target, peer, size_bytes))
        return kept.answer

    def _entries(self) -> list[LoggedRequest]:
        """What has been answered since this was asked last, as far as it is kept."""
        latest, offset = list(self._latest), time.time() - time.monotonic()
        self._latest.clear()
        return [
            LoggedRequest(
                offset + at, "GET", target, "", node_named(peer), 200, LOCAL, None, size_bytes, 0.0, ""
            )
            for at, target, peer, size_bytes in latest
        ]


def _is_not_traced(headers: Headers) -> bool:
    """Whether the caller says so: the last bit of the flags is `sampled` (W3C Trace Context, section 3.2)."""
    return any(name == b"traceparent" and value[-1:] in _EVEN for name, value in headers)
