"""Server-sent events: fragments of a page that have changed, as HTML by the id of their element."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson

from heliograph_registry.debug.adapters.html.pages import Pages
from heliograph_registry.debug.overview import Overviews
from heliograph_registry.debug.pull_test import PullTests

_MOST_STREAMS = 16
_OVERVIEW_EVERY_S, _PULL_TEST_EVERY_S = 1.0, 0.25
_REFRESH_S = 5.0
_MOST_S = 3600.0

Fragments = dict[str, str]


class TooManyStreams(Exception):
    def __init__(self) -> None:
        super().__init__(f"{_MOST_STREAMS} pages are open already")


class EventStreams:
    """At most 16 streams at once, each for at most an hour; after that a browser reconnects."""

    def __init__(
        self, overviews: Overviews, pull_tests: PullTests, pages: Pages, stop: asyncio.Event
    ) -> None:
        """All streams end when `stop` is set."""
        self._overviews, self._pull_tests, self._pages = overviews, pull_tests, pages
        self._stop = stop
        self._open = 0

    def overview(self) -> AsyncIterator[bytes]:
        """Looks for changes every second, and refreshes every 5 s anyway. Raises `TooManyStreams`."""
        return self._stream(self._overview_changes(), _OVERVIEW_EVERY_S)

    def pull_test(self) -> AsyncIterator[bytes]:
        """Progress, four times a second, until the pull test is over. Raises `TooManyStreams`."""
        return self._stream(self._pull_test_changes, _PULL_TEST_EVERY_S)

    def _overview_changes(self) -> Callable[[], Awaitable[tuple[Fragments, bool]]]:
        request_log = self._overviews.request_log
        version, shown_at = -1, 0.0
        level = ""

        async def look() -> tuple[Fragments, bool]:
            nonlocal version, shown_at, level
            if request_log.version == version and time.monotonic() - shown_at < _REFRESH_S:
                return {}, False
            version, shown_at = request_log.version, time.monotonic()
            overview = await self._overviews.now()
            fragments = await self._pages.live(overview, request_log)
            if level and level != overview.verdict.level:
                fragments["announcement"] = overview.verdict.answer
            level = overview.verdict.level
            return fragments, False

        return look

    async def _pull_test_changes(self) -> tuple[Fragments, bool]:
        latest = self._pull_tests.latest
        if latest is None:
            return {}, True
        over = latest.over
        fragments = await self._pages.pulled(latest)
        if over:
            fragments["announcement"] = latest.sentence
        return fragments, over

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
        ends = time.monotonic() + _MOST_S
        self._open += 1
        try:
            yield b"retry: 2000\n\n"
            while not self._stop.is_set() and time.monotonic() < ends:
                fragments, over = await look()
                changed = {element: html for element, html in fragments.items() if sent.get(element) != html}
                sent |= changed
                if changed:
                    yield b"event: fragments\ndata: " + orjson.dumps(changed) + b"\n\n"
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
