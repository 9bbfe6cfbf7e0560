"""Wires the registry: the only module that knows every adapter."""

import asyncio

import structlog
from fastapi import FastAPI

from heliograph_registry.adapters.asgi import Distribution
from heliograph_registry.adapters.filesystem import FileContent, open_readers
from heliograph_registry.adapters.grpc import open_resolver
from heliograph_registry.adapters.http1 import HttpPeers
from heliograph_registry.adapters.metrics import Metrics
from heliograph_registry.adapters.state_file import StateFile
from heliograph_registry.adapters.uvicorn import MirrorProtocol
from heliograph_registry.service import Limits, Mirror
from heliograph_registry.settings import Settings
from heliograph_shared import telemetry
from heliograph_shared.admin import admin_routes
from heliograph_shared.filters import ImageFilter, InvalidFilter
from heliograph_shared.http import serve_http
from heliograph_shared.runtime import StartupError, bind

log = structlog.get_logger()

_SHUTDOWN_S = 30


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Answer requests until `stop` is set; then transfers may finish for 30 s. Raises `StartupError`."""
    try:
        images = ImageFilter(settings.mirrored_registries, settings.registry_filters)
    except InvalidFilter as error:
        raise StartupError(str(error)) from error
    data_socket, admin_socket = bind(settings.registry_listen), bind(settings.admin_listen)
    readers = open_readers()
    content = FileContent(settings.content_path, readers)

    def readiness() -> str | None:
        return "stopping" if stop.is_set() else content.unreadable()

    metrics = Metrics()
    admin = FastAPI(
        openapi_url=None,
        routes=[*admin_routes(readiness, metrics.collected)],
        telemetry={"tracing": False, "metrics": False, "logs": False},  # probes are not worth a trace
    )
    with telemetry.tracing("heliograph-registry", settings.node_name), readers:
        async with open_resolver(
            settings.router_target,
            node=settings.node_name,
            zone=settings.zone,
            max_peers=settings.peer_attempts,
        ) as resolver:
            mirror = Mirror(
                node=settings.node_name,
                content=content,
                facts=StateFile(settings.state_path),
                resolver=resolver,
                peers=HttpPeers(settings.node_name),
                images=images,
                limits=Limits(settings.first_byte_timeout_ms / 1000, settings.peer_attempts),
            )
            data = Distribution(mirror, metrics)
            async with (
                serve_http(admin, admin_socket),
                serve_http(data, data_socket, protocol=MirrorProtocol, shutdown_s=_SHUTDOWN_S),
            ):
                log.info(
                    "serving",
                    node=settings.node_name,
                    address=str(settings.registry_listen),
                    content=str(settings.content_path),
                )
                await stop.wait()
                log.info("stopping", node=settings.node_name)
