"""Wires the registry: the process, its data port and admin port, the mirror and the debug page."""

import asyncio
from functools import partial

import structlog
from fastapi import FastAPI

from heliograph_registry.adapters.filesystem import FileContent, open_readers
from heliograph_registry.adapters.http_server.app import data_app
from heliograph_registry.adapters.http_server.basic_auth import BasicAuth
from heliograph_registry.adapters.http_server.manifest_cache import ManifestCache
from heliograph_registry.adapters.http_server.protocol import MirrorProtocol, bound_memory
from heliograph_registry.adapters.http_server.pump import open_pumps
from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.unservable_http import unservable_route
from heliograph_registry.debug.adapters.loopback import Loopback
from heliograph_registry.debug_wiring import debug_page
from heliograph_registry.mirror.domain.request_log import RequestLog
from heliograph_registry.mirror.local_content import LocalContent
from heliograph_registry.mirror_wiring import open_mirror, tls_files
from heliograph_registry.settings import Settings
from heliograph_shared import telemetry
from heliograph_shared.accounts import reloaded_accounts
from heliograph_shared.address import Address
from heliograph_shared.admin import admin_routes
from heliograph_shared.filters import ImageFilter, InvalidFilter
from heliograph_shared.http import serve_http
from heliograph_shared.limited_http import Limits
from heliograph_shared.runtime import StartupError, bind, raise_descriptor_limit
from heliograph_shared.tls import client_contexts, http_server_context

log = structlog.get_logger()

_SHUTDOWN_S = 30
_KEEP_ALIVE_S = 75  # longer than peers and containerd keep an idle connection, so that they close it first


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Answer requests until `stop` is set, then give transfers 30 s to finish. Raises `StartupError`."""
    try:
        images = ImageFilter(settings.mirrored_registries, settings.registry_filters)
    except InvalidFilter as error:
        raise StartupError(str(error)) from error
    auth, tls = _basic_auth(settings), tls_files(settings)
    context = http_server_context(tls, verify_clients=settings.tls_verify_clients) if tls else None
    raise_descriptor_limit()
    data_socket, admin_socket = bind(settings.registry_listen), bind(settings.admin_listen)
    bound_memory(data_socket, encrypted=context is not None)
    readers = open_readers()
    files = FileContent(settings.content_path, readers)
    content = LocalContent(files)

    def readiness() -> str | None:
        return "stopping" if stop.is_set() else files.unreadable_reason()

    metrics, request_log = RegistryMetrics(), RequestLog()
    admin = FastAPI(
        openapi_url=None,
        routes=[*admin_routes(readiness, metrics.collected), unservable_route(content.unservable)],
        telemetry={"tracing": False, "metrics": False, "logs": False},  # probes are not worth a trace
    )
    with (
        telemetry.tracing("heliograph-registry", settings.node_name),
        open_pumps(readers.bodies) as pumps,
        readers,
    ):
        async with open_mirror(settings, content, images, readers, metrics, request_log, auth) as components:
            cache = ManifestCache(components.lookahead, metrics, request_log)
            data = serve_http(
                data_app(components.mirror, metrics, cache, request_log, auth),
                data_socket,
                protocol=partial(
                    MirrorProtocol, pumps=pumps, from_cache=auth.guard(cache.get) if auth else cache.get
                ),
                limits=Limits(connections=settings.max_connections, idle_s=_KEEP_ALIVE_S),
                keep_alive_s=_KEEP_ALIVE_S,
                shutdown_s=_SHUTDOWN_S,
                tls=context,
            )
            data_port = Loopback(
                Address(settings.registry_listen.host, data_socket.getsockname()[1]),
                wait_s=settings.wait_ms / 1000,
                authorization=auth.own if auth else lambda: None,
                encryption=client_contexts(tls, checks_name=False).current if tls else lambda: None,
            )
            page = (
                debug_page(settings, components, request_log, images, content, readiness, data_port, stop)
                if settings.debug_web
                else None
            )
            if page:
                admin.include_router(page.routes)
            async with serve_http(admin, admin_socket), data:
                log.info(
                    "serving",
                    node=settings.node_name,
                    address=str(settings.registry_listen),
                    content=str(settings.content_path),
                )
                await stop.wait()
                log.info("stopping", node=settings.node_name)
                if page:
                    page.stop_pull_test("this registry is stopping")
                components.mirror.stop_waiting()


def _basic_auth(settings: Settings) -> BasicAuth | None:
    if settings.basic_auth_file is None:
        return None
    return BasicAuth(reloaded_accounts("basic-auth", settings.basic_auth_file))
