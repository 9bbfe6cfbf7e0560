"""Server-sent events: parts of a page that have changed, as HTML by the id of their element."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson

from heliograph_registry.debug.adapters.html.pages import Pages
from heliograph_registry.debug.overview import Overviews
from heliograph_registry.debug.pull_test import PullTests

_MOST_STREAMS = 16
_LOOK_EVERY_S, _MEASURED_EVERY_S = 1.0, 0.25
_ANYWAY_S = 5.0
_LONGEST_S = 3600.0

Fragments = dict[str, str]


class TooManyStreams(Exception):
    def __init__(self) -> None:
        super().__init__(f"{_MOST_STREAMS} pages are open already")


class EventStreams:
    """At most 16 at once, each for an hour at most: a browser then asks again."""

    def __init__(
        self, overviews: Overviews, pull_tests: PullTests, pages: Pages, stop: asyncio.Event
    ) -> None:
        """All end when `stop` is set."""
        self._overviews, self._pull_tests, self._pages = overviews, pull_tests, pages
        self._stop = stop
        self._open = 0

    def overview(self) -> AsyncIterator[bytes]:
        """Once a second what has changed, and every 5 s in any case. Raises `TooManyStreams`."""
        return self._stream(self._changed(), _LOOK_EVERY_S)

    def measurement(self) -> AsyncIterator[bytes]:
        """Four times a second how far it is, until it is over. Raises `TooManyStreams`."""
        return self._stream(self._measured, _MEASURED_EVERY_S)

    def _changed(self) -> Callable[[], Awaitable[tuple[Fragments, bool]]]:
        request_log = self._overviews.request_log
        version, shown_at = -1, 0.0
        level = ""

        async def look() -> tuple[Fragments, bool]:
            nonlocal version, shown_at, level
            if request_log.version == version and time.monotonic() - shown_at < _ANYWAY_S:
                return {}, False
            version, shown_at = request_log.version, time.monotonic()
            seen = await self._overviews.now()
            parts = await self._pages.live(seen, request_log)
            if level and level != seen.verdict.level:
                parts["announcement"] = seen.verdict.answer
            level = seen.verdict.level
            return parts, False

        return look

    async def _measured(self) -> tuple[Fragments, bool]:
        latest = self._pull_tests.latest
        if latest is None:
            return {}, True
        over = latest.over
        parts = await self._pages.measured(latest)
        if over:
            parts["announcement"] = latest.sentence
        return parts, over

    def _stream(
        self, look: Callable[[], Awaitable[tuple[Fragments, bool]]], every_s: float
    ) -> AsyncIterator[bytes]:
        if self._open >= _MOST_STREAMS:
            raise TooManyStreams
        return self._events(look, every_s)

    async def _events(
        self, look: Callable[[], Awaitable[tuple[Fragments, bool]]], every_s: float
    ) -> AsyncIterator[bytes]:
        sent: Fragments = {}
        ends = time.monotonic() + _LONGEST_S
        self._open += 1
        try:
            yield b"retry: 2000\n\n"
            while not self._stop.is_set() and time.monotonic() < ends:
                parts, over = await look()
                changed = {element: html for element, html in parts.items() if sent.get(element) != html}
                sent |= changed
                if changed:
                    yield b"event: parts\ndata: " + orjson.dumps(changed) + b"\n\n"
                if over:
                    yield b"event: over\ndata: {}\n\n"
                    return
                try:
                    async with asyncio.timeout(every_s):
                        await self._stop.wait()
                except TimeoutError:
                    continue
        finally:
            self._open -= 1
