"""Wires the debug page: the use cases of `debug` and their adapters."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from fastapi import APIRouter

from heliograph_registry.debug.adapters.doctor_client import HttpDoctorReports
from heliograph_registry.debug.adapters.html.csrf import CsrfGuard
from heliograph_registry.debug.adapters.html.event_streams import EventStreams
from heliograph_registry.debug.adapters.html.pages import Pages
from heliograph_registry.debug.adapters.html.routes import debug_routes
from heliograph_registry.debug.adapters.router_queries import GrpcRouterQueries
from heliograph_registry.debug.domain.explanation import MirrorStatus
from heliograph_registry.debug.overview import Overviews, RegistryInfo
from heliograph_registry.debug.ports import DataPort
from heliograph_registry.debug.pull_test import PullTests
from heliograph_registry.debug.why import Why
from heliograph_registry.mirror.domain.request_log import RequestLog
from heliograph_registry.mirror.ports import Content
from heliograph_registry.mirror_wiring import MirrorComponents
from heliograph_registry.settings import Settings
from heliograph_shared.filters import ImageFilter
from heliograph_shared.platforms import Matcher

_MOST_REMEMBERED = 100
_NAMED_REMEMBERED = 8


@dataclass(frozen=True, slots=True)
class DebugPage:
    """`stop_pull_test` ends the running pull test, if any; its argument says why."""

    routes: APIRouter
    stop_pull_test: Callable[[str], None]


def debug_page(
    settings: Settings,
    components: MirrorComponents,
    request_log: RequestLog,
    images: ImageFilter,
    content: Content,
    readiness: Callable[[], str | None],
    data_port: DataPort,
    stop: asyncio.Event,
) -> DebugPage:
    router_queries = GrpcRouterQueries(lambda: components.routers.channels)
    platform = Matcher(settings.platform)
    overviews = Overviews(
        RegistryInfo(
            node=settings.node_name,
            zone=settings.zone,
            version=version("heliograph-registry"),
            router_target=settings.router_target,
            started_at=time.time(),
        ),
        readiness=readiness,
        request_log=request_log,
        indexer_state=components.facts,
        router_queries=router_queries,
        doctors=_doctors(settings),
        remembered=partial(components.routerless.remembered, _MOST_REMEMBERED),
        asked_last=components.peering.asked_last,
    )

    def status() -> MirrorStatus:
        return MirrorStatus(
            router_error=None,
            breaker_open_s=components.routers.left_alone_s,
            remembered=tuple(peer.node for peer in components.routerless.remembered(_NAMED_REMEMBERED)),
            peer_dns=bool(settings.peer_dns),
            attempts=settings.peer_attempts,
            wait_ms=settings.wait_ms,
            first_byte_ms=settings.first_byte_timeout_ms,
            transfers=components.blobs.to_clients(),
            max_transfers=settings.max_transfers,
        )

    why = Why(
        node=settings.node_name,
        platform=platform,
        attempts=settings.peer_attempts,
        images=images,
        content=content,
        facts=components.facts,
        mirror=components.mirror,
        peering=components.peering,
        router_queries=router_queries,
        status=status,
    )
    pull_tests = PullTests(data_port, platform=platform, on_verified=components.mirror.mark_verified)
    csrf = CsrfGuard()
    pages = Pages(settings.node_name, csrf.token)
    event_streams = EventStreams(overviews, pull_tests, pages, stop)
    routes = debug_routes(overviews, why, pull_tests, pages, event_streams, csrf)
    return DebugPage(routes, pull_tests.stop)


def _doctors(settings: Settings) -> list[HttpDoctorReports]:
    urls = {"indexer": settings.indexer_url, "configurator": settings.configurator_url}
    return [HttpDoctorReports(service, url) for service, url in urls.items() if url]
