"""The routes of the debug page, at `/debug/web` of the admin port. It can be read without JavaScript."""

from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from heliograph_registry.debug.adapters.html.csrf import SECURITY_HEADERS, CsrfGuard, FormRefused
from heliograph_registry.debug.adapters.html.event_streams import EventStreams, TooManyStreams
from heliograph_registry.debug.adapters.html.pages import ASSETS, ImageForm, Pages
from heliograph_registry.debug.errors import PullTestRefused
from heliograph_registry.debug.overview import Overviews
from heliograph_registry.debug.pull_test import PullTests
from heliograph_registry.debug.why import Why
from heliograph_shared.reference import InvalidReference, parse_reference

_PREFIX = "/debug/web"
_MOST_TAGS, _FEW_TAGS = 200, 8
_MOST_TEXT = 1_000


class _Handlers:
    def __init__(
        self,
        overviews: Overviews,
        why: Why,
        pull_tests: PullTests,
        pages: Pages,
        event_streams: EventStreams,
        csrf: CsrfGuard,
    ) -> None:
        self._overviews, self._why, self._pull_tests = overviews, why, pull_tests
        self._pages, self._event_streams = pages, event_streams
        self._csrf = csrf

    async def overview(self, _: Request) -> Response:
        overview = await self._overviews.now()
        tags = await self._overviews.tags("", _FEW_TAGS)
        last = self._pull_tests.latest
        return _html(await self._pages.overview(overview, self._overviews.request_log, tags, last))

    async def images(self, request: Request) -> Response:
        containing = _text(request, "q")
        tags = await self._overviews.tags(containing, _MOST_TAGS)
        return _html(await self._pages.images(tags, containing))

    async def why(self, request: Request) -> Response:
        image = _text(request, "image")
        if not image:
            return _html(await self._pages.why(None, ImageForm()))
        try:
            reference = parse_reference(image)
        except InvalidReference as error:
            return _html(await self._pages.why(None, ImageForm(image, f"This is {error}.")), 400)
        explanation = await self._why.explain(reference)
        return _html(await self._pages.why(explanation, ImageForm(image)))

    async def pull_test(self, _: Request) -> Response:
        latest = self._pull_tests.latest
        image = str(latest.reference) if latest else ""
        return _html(await self._pages.pull_test(latest, ImageForm(image)))

    async def start(self, request: Request) -> Response:
        image = (await self._csrf.form(request)).get("image", "").strip()[:_MOST_TEXT]
        latest = self._pull_tests.latest
        try:
            self._pull_tests.start(parse_reference(image))
        except InvalidReference as error:
            return _html(await self._pages.pull_test(latest, ImageForm(image, f"This is {error}.")), 400)
        except PullTestRefused as error:
            problem = f"Only one pull test runs at a time, and {error}. Stop it, or wait until it ends."
            return _html(await self._pages.pull_test(latest, ImageForm(image, problem)), 409)
        return RedirectResponse(f"{_PREFIX}/pull-test", 303, dict(SECURITY_HEADERS))

    async def stop(self, request: Request) -> Response:
        await self._csrf.form(request)
        self._pull_tests.stop("as requested")
        return RedirectResponse(f"{_PREFIX}/pull-test", 303, dict(SECURITY_HEADERS))

    async def events(self, _: Request) -> Response:
        return _stream(self._event_streams.overview)

    async def pull_test_events(self, _: Request) -> Response:
        return _stream(self._event_streams.pull_test)

    async def asset(self, name: str) -> Response:
        if name not in ASSETS:
            return Response("no such asset\n", 404, dict(SECURITY_HEADERS))
        headers = {**SECURITY_HEADERS, "cache-control": "max-age=300"}
        return Response(self._pages.asset(name), headers=headers, media_type=ASSETS[name])

    def guarded(self, handle: Callable[[Request], Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except FormRefused as error:
                return _html(await self._pages.refused(str(error)), 403)

        return guarded


def debug_routes(
    overviews: Overviews,
    why: Why,
    pull_tests: PullTests,
    pages: Pages,
    event_streams: EventStreams,
    csrf: CsrfGuard,
) -> APIRouter:
    handlers = _Handlers(overviews, why, pull_tests, pages, event_streams, csrf)
    router = APIRouter(prefix=_PREFIX)
    router.add_api_route("", handlers.overview)
    router.add_api_route("/images", handlers.images)
    router.add_api_route("/why", handlers.why)
    router.add_api_route("/pull-test", handlers.pull_test)
    router.add_api_route("/pull-test", handlers.guarded(handlers.start), methods=["POST"])
    router.add_api_route("/pull-test/stop", handlers.guarded(handlers.stop), methods=["POST"])
    router.add_api_route("/events", handlers.events)
    router.add_api_route("/pull-test/events", handlers.pull_test_events)
    router.add_api_route("/assets/{name}", handlers.asset)
    return router


def _text(request: Request, name: str) -> str:
    return request.query_params.get(name, "").strip()[:_MOST_TEXT]


def _html(html: str, status: int = 200) -> Response:
    return HTMLResponse(html, status, dict(SECURITY_HEADERS))


def _stream(begin: Callable[[], AsyncIterator[bytes]]) -> Response:
    try:
        events = begin()
    except TooManyStreams as error:
        return Response(f"{error}\n", 503, dict(SECURITY_HEADERS))
    return StreamingResponse(events, headers=dict(SECURITY_HEADERS), media_type="text/event-stream")
