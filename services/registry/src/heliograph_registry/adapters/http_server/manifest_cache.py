"""Complete answers to GETs of this node's manifests, by the request's path and query as received.

In a rollout every node is asked for the same few manifests many times. Answers from this cache need neither
the application nor a task of uvicorn's. A request that may have to be traced is not answered from it.
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
from heliograph_registry.adapters.metrics import RegistryMetrics, UncountedAnswers
from heliograph_registry.mirror.domain.manifest import Manifest
from heliograph_registry.mirror.domain.request_log import LoggedRequest, RequestLog
from heliograph_registry.mirror.domain.source import LOCAL
from heliograph_registry.mirror.domain.target import ManifestByDigest
from heliograph_registry.mirror.lookahead import MAX_AGE_S, Lookahead
from heliograph_shared import telemetry

_MOST_BYTES = 8 << 20
_MOST_LATEST = 64
_EVEN_DIGITS = frozenset(b"%x" % digit for digit in range(0, 16, 2))


@dataclass(slots=True)
class _CachedAnswer:
    """`lookahead_at`: the next time (monotonic) at which a request starts a lookahead."""

    target: ManifestByDigest
    manifest: Manifest
    answer: bytes
    to_clients: UncountedAnswers
    to_peers: UncountedAnswers
    lookahead_at: float = 0.0


class ManifestCache:
    """At most 8 MiB; the least recently used are dropped."""

    def __init__(self, lookahead: Lookahead, metrics: RegistryMetrics, request_log: RequestLog) -> None:
        """`request_log` gets the entries of these answers only when it is read, to save time here."""
        self._lookahead, self._metrics = lookahead, metrics
        self._traced, self._follows = telemetry.enabled(), telemetry.follows_parents()
        self._latest: deque[tuple[float, ManifestByDigest, bytes, int]] = deque(maxlen=_MOST_LATEST)
        request_log.add_source(self._entries)
        self._answers: OrderedDict[bytes, _CachedAnswer] = OrderedDict()
        self._cached_bytes = 0

    def add(self, url: bytes, manifest: Manifest, target: ManifestByDigest) -> None:
        """`url` is the request's target as received. The node must hold the manifest."""
        if url in self._answers:
            return
        headers = [*manifest_headers(manifest), *fixed_headers(LOCAL)]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        answer = lines + b"\r\n" + manifest.body
        counts = self._metrics.cached_answers(target.name.registry)
        self._answers[url] = _CachedAnswer(target, manifest, answer, *counts)
        self._cached_bytes += len(url) + len(answer)
        while self._cached_bytes > _MOST_BYTES:
            dropped, cached = self._answers.popitem(last=False)
            self._cached_bytes -= len(dropped) + len(cached.answer)

    def get(self, url: bytes, headers: Headers) -> bytes | None:
        """The answer after its status line: header lines, an empty line and the body. None if not cached."""
        cached = self._answers.get(url)
        if cached is None or (self._traced and not (self._follows and _is_not_traced(headers))):
            return None
        self._answers.move_to_end(url)
        counted, peer = cached.to_clients, b""
        for name, value in headers:
            if name == PEER:
                counted, peer = cached.to_peers, value
                break
        size_bytes, now = len(cached.manifest.body), time.monotonic()
        counted.count += 1
        counted.sent_bytes += size_bytes
        if now >= cached.lookahead_at and not peer:
            cached.lookahead_at = now + MAX_AGE_S
            self._lookahead.resolve_children(cached.manifest)
        self._latest.append((now, cached.target, peer, size_bytes))
        return cached.answer

    def _entries(self) -> list[LoggedRequest]:
        """The answers since the last call, at most the latest 64."""
        latest, offset = list(self._latest), time.time() - time.monotonic()
        self._latest.clear()
        return [
            LoggedRequest(
                offset + at, "GET", target, "", node_named(peer), 200, LOCAL, None, size_bytes, 0.0, ""
            )
            for at, target, peer, size_bytes in latest
        ]


def _is_not_traced(headers: Headers) -> bool:
    """Whether the caller says so: the last bit of the flags is `sampled` (W3C Trace Context section 3.2)."""
    return any(name == b"traceparent" and value[-1:] in _EVEN_DIGITS for name, value in headers)
