"""Resolves everything a manifest lists in one call, right after the manifest was served.

Requests for the image's other manifests and blobs then need no call to a router of their own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from cachetools import TTLCache
from opentelemetry import trace

from heliograph_registry.mirror.domain.manifest import Manifest
from heliograph_registry.mirror.domain.peer import Outcome, Resolution
from heliograph_registry.mirror.errors import NotServed
from heliograph_shared import telemetry
from heliograph_shared.digest import Digest

MAX_AGE_S = 2.0
"""Older resolutions would send a whole rollout to the nodes that held the image first."""
_KEPT_S = 10.0
_MOST_DIGESTS = 4096
_MOST_CALLS = 32

_NO_ANSWER = Resolution(Outcome.NOT_SYNCED)

Resolve = Callable[[Sequence[Digest]], Awaitable[list[Resolution]]]
_Answers = tuple[float, dict[Digest, Resolution], trace.SpanContext]
"""When they came (by the clock), the resolutions by digest, and the span of the call."""

tracer = trace.get_tracer("heliograph_registry")


class Lookahead:
    """Each resolution is used once, within 2 s, and only if it names peers."""

    def __init__(self, resolve: Resolve, lacks: Callable[[Digest], bool], clock: Callable[[], float]) -> None:
        self._resolve, self._lacks, self._clock = resolve, lacks, clock
        self._resolving: TTLCache[Digest, asyncio.Task[_Answers]] = TTLCache(
            _MOST_DIGESTS, _KEPT_S, timer=clock
        )
        self._served: TTLCache[Digest, None] = TTLCache(_MOST_DIGESTS, MAX_AGE_S, timer=clock)
        self._calls: set[asyncio.Task[_Answers]] = set()

    def resolve_children(self, manifest: Manifest) -> None:
        """Start to resolve those children that this node lacks: a client has just been sent the manifest.

        Does nothing if it did so for this manifest within 2 s, or while 32 calls are running.
        """
        if not manifest.children or manifest.digest in self._served or len(self._calls) >= _MOST_CALLS:
            return
        self.skip(manifest)
        lacking = [child for child in manifest.children if self._lacks(child) and not self._is_fresh(child)]
        if lacking:
            self._begin(lacking)

    def skip(self, manifest: Manifest) -> None:
        """For 2 s, do not resolve this manifest's children."""
        self._served[manifest.digest] = None

    async def resolutions(self, digests: Sequence[Digest]) -> dict[Digest, Resolution]:
        """Those known from the last 2 s, and the rest by one call now; requests can still take each once.

        `NOT_SYNCED` if no router answered.
        """
        calls = {digest: self._resolving[digest] for digest in digests if self._is_fresh(digest)}
        if missing := [digest for digest in digests if digest not in calls]:
            calls |= dict.fromkeys(missing, self._begin(missing))
        answers = {call: (await asyncio.shield(call))[1] for call in dict.fromkeys(calls.values())}
        return {digest: answers[call].get(digest, _NO_ANSWER) for digest, call in calls.items()}

    async def resolution(self, digest: Digest) -> Resolution:
        """The one from the lookahead, else from a call now. Raises what `resolve` raises."""
        taken = await self.take_resolution(digest)
        if taken is not None:
            return taken
        (resolution,) = await self._resolve([digest])
        return resolution

    async def take_resolution(self, digest: Digest) -> Resolution | None:
        """Remove and return the digest's resolution, after waiting for its call.

        None if there is none, or it is older than 2 s, or it names no peers.
        """
        call = self._resolving.pop(digest, None)
        if call is None:
            return None
        answered_at, resolutions, resolve_span = await asyncio.shield(call)
        resolution = resolutions.get(digest)
        if resolution is None or not resolution.peers or self._clock() - answered_at >= MAX_AGE_S:
            return None
        trace.get_current_span().add_link(resolve_span)
        return resolution

    def _is_fresh(self, digest: Digest) -> bool:
        """Whether a call for it is running, or named peers within the last 2 s."""
        call = self._resolving.get(digest)
        if call is None or not call.done():
            return call is not None
        if call.cancelled() or call.exception():
            return False
        answered_at, resolutions, _ = call.result()
        found = resolutions.get(digest)
        return found is not None and bool(found.peers) and self._clock() - answered_at < MAX_AGE_S

    def _begin(self, digests: list[Digest]) -> asyncio.Task[_Answers]:
        call = asyncio.create_task(self._ask(digests))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        for digest in digests:
            self._resolving[digest] = call
        return call

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _ask(self, digests: list[Digest]) -> _Answers:
        with telemetry.span(tracer, "resolve ahead") as span:
            context = span.get_span_context()
            try:
                resolutions = await self._resolve(digests)
            except NotServed:  # then each request asks for itself, and reports the error
                return self._clock(), {}, context
        return self._clock(), dict(zip(digests, resolutions, strict=True)), context


@asynccontextmanager
async def open_lookahead(
    resolve: Resolve, lacks: Callable[[Digest], bool], clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Lookahead]:
    """A `Lookahead` whose calls end with it."""
    lookahead = Lookahead(resolve, lacks, clock)
    try:
        yield lookahead
    finally:
        await lookahead.close()
