"""Wires the debug page: use cases of `debug` and the adapters they need."""

import asyncio
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from fastapi import APIRouter

from heliograph_registry.debug.adapters.doctor_client import HttpDoctor
from heliograph_registry.debug.adapters.html.csrf import CsrfGuard
from heliograph_registry.debug.adapters.html.event_streams import EventStreams
from heliograph_registry.debug.adapters.html.pages import Pages
from heliograph_registry.debug.adapters.html.routes import debug_routes
from heliograph_registry.debug.adapters.router_queries import GrpcRouterQueries
from heliograph_registry.debug.domain.explanation import MirrorStatus
from heliograph_registry.debug.overview import Identity, Overviews
from heliograph_registry.debug.ports import DataPort
from heliograph_registry.debug.pull_test import PullTests
from heliograph_registry.debug.why import Why
from heliograph_registry.mirror.domain.request_log import RequestLog
from heliograph_registry.mirror.ports import Content
from heliograph_registry.mirror_wiring import MirrorComponents
from heliograph_registry.settings import Settings
from heliograph_shared.filters import ImageFilter

_MOST_REMEMBERED = 100
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True)
class DebugPage:
    """`stop_pull_test` ends the pull test that is running, if any; its argument says why."""

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
    router_queries = GrpcRouterQueries(lambda: components.routers.channel)
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    overviews = Overviews(
        Identity(
            node=settings.node_name,
            zone=settings.zone,
            version=version("heliograph-registry"),
            router_target=settings.router_target,
            started_at=time.time(),
        ),
        readiness=readiness,
        request_log=request_log,
        facts=components.facts,
        router_queries=router_queries,
        doctors=_doctors(settings),
        remembered=partial(components.routerless.remembered, _MOST_REMEMBERED),
        asked_last=components.peering.asked_last,
    )

    def status() -> MirrorStatus:
        return MirrorStatus(
            no_router=None,
            left_alone_s=components.routers.left_alone_s,
            remembered=tuple(peer.node for peer in components.routerless.remembered(8)),
            peer_dns=bool(settings.peer_dns),
            attempts=settings.peer_attempts,
            wait_ms=settings.wait_ms,
            first_byte_ms=settings.first_byte_timeout_ms,
            transfers=components.blobs.to_clients(),
            most_transfers=settings.max_transfers,
        )

    why = Why(
        node=settings.node_name,
        architecture=architecture,
        attempts=settings.peer_attempts,
        images=images,
        content=content,
        facts=components.facts,
        mirror=components.mirror,
        peering=components.peering,
        router_queries=router_queries,
        status=status,
    )
    pull_tests = PullTests(data_port, architecture=architecture, proven=components.mirror.mark_verified)
    csrf = CsrfGuard()
    pages = Pages(settings.node_name, csrf.token)
    event_streams = EventStreams(overviews, pull_tests, pages, stop)
    return DebugPage(debug_routes(overviews, why, pull_tests, pages, event_streams, csrf), pull_tests.stop)


def _doctors(settings: Settings) -> list[HttpDoctor]:
    urls = {"indexer": settings.indexer_url, "configurator": settings.configurator_url}
    return [HttpDoctor(service, url) for service, url in urls.items() if url]
