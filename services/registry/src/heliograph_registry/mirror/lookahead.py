"""Resolutions of an image's children, asked for in one call when its manifest has been served."""

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

FRESH_S = 2.0
"""Older answers would pin a whole roll-out to the nodes that held the image first."""
_WAITED_FOR_S = 10.0
_MOST_DIGESTS = 4096
_MOST_CALLS = 32

Resolve = Callable[[Sequence[Digest]], Awaitable[list[Resolution]]]
_Answers = tuple[float, dict[Digest, Resolution], trace.SpanContext]

tracer = trace.get_tracer("heliograph_registry")


class Lookahead:
    """Each answer is used once, within 2 s, and only when it names peers."""

    def __init__(self, resolve: Resolve, lacks: Callable[[Digest], bool], clock: Callable[[], float]) -> None:
        self._resolve, self._lacks, self._clock = resolve, lacks, clock
        self._expected: TTLCache[Digest, asyncio.Task[_Answers]] = TTLCache(
            _MOST_DIGESTS, _WAITED_FOR_S, timer=clock
        )
        self._served: TTLCache[Digest, None] = TTLCache(_MOST_DIGESTS, FRESH_S, timer=clock)
        self._calls: set[asyncio.Task[_Answers]] = set()

    def expect(self, manifest: Manifest) -> None:
        """A client has been given this manifest, and will ask for what this node lacks of it."""
        if not manifest.children or manifest.digest in self._served or len(self._calls) >= _MOST_CALLS:
            return
        self._served[manifest.digest] = None
        if lacking := [child for child in manifest.children if self._lacks(child)]:
            call = asyncio.create_task(self._ask(lacking))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            for digest in lacking:
                self._expected[digest] = call

    async def resolution(self, digest: Digest) -> Resolution:
        """Asked for ahead, else now. Raises what `resolve` raises."""
        taken = await self.take(digest)
        if taken is not None:
            return taken
        (resolution,) = await self._resolve([digest])
        return resolution

    async def take(self, digest: Digest) -> Resolution | None:
        """The answer to it, once, when it is there or on its way, is fresh and names peers."""
        call = self._expected.pop(digest, None)
        if call is None:
            return None
        answered_at, resolutions, asked = await asyncio.shield(call)
        resolution = resolutions.get(digest)
        if resolution is None or not resolution.peers or self._clock() - answered_at >= FRESH_S:
            return None
        trace.get_current_span().add_link(asked)
        return resolution

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _ask(self, digests: list[Digest]) -> _Answers:
        with telemetry.span(tracer, "resolve ahead") as span:
            asked = span.get_span_context()
            try:
                resolutions = await self._resolve(digests)
            except NotServed:  # then each asks for itself, and says so
                return self._clock(), {}, asked
        found = {
            digest: resolution
            for digest, resolution in zip(digests, resolutions, strict=True)
            if resolution.outcome is Outcome.FOUND
        }
        return self._clock(), found, asked


@asynccontextmanager
async def open_lookahead(
    resolve: Resolve, lacks: Callable[[Digest], bool], clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Lookahead]:
    """No call of its own outlives it."""
    lookahead = Lookahead(resolve, lacks, clock)
    try:
        yield lookahead
    finally:
        await lookahead.close()
