"""Wires the registry: the only module that knows every adapter."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import structlog
from fastapi import FastAPI

from heliograph_registry.adapters.answers import Answers
from heliograph_registry.adapters.asgi import Distribution
from heliograph_registry.adapters.basic_auth import BasicAuth
from heliograph_registry.adapters.connections import PeerTls
from heliograph_registry.adapters.dns import open_dns_peers
from heliograph_registry.adapters.filesystem import FileContent, open_readers
from heliograph_registry.adapters.grpc import open_resolver
from heliograph_registry.adapters.http1 import open_peers
from heliograph_registry.adapters.metrics import Metrics
from heliograph_registry.adapters.pump import open_pumps
from heliograph_registry.adapters.spool import FileSpool
from heliograph_registry.adapters.state_file import StateFile
from heliograph_registry.adapters.uvicorn import MirrorProtocol, bound_memory
from heliograph_registry.ahead import Ahead, open_ahead
from heliograph_registry.blobs import open_blobs
from heliograph_registry.ladder import Ladder
from heliograph_registry.peering import Peering
from heliograph_registry.service import Mirror
from heliograph_registry.settings import Settings
from heliograph_registry.waits import Waits
from heliograph_shared import telemetry
from heliograph_shared.accounts import reloaded_accounts
from heliograph_shared.address import Address
from heliograph_shared.admin import admin_routes
from heliograph_shared.filters import ImageFilter, InvalidFilter
from heliograph_shared.http import serve_http
from heliograph_shared.limited_http import Limits
from heliograph_shared.runtime import StartupError, bind, raise_descriptor_limit
from heliograph_shared.tls import TlsFiles, client_contexts, http_server_context

log = structlog.get_logger()

_SHUTDOWN_S = 30
_KEEP_ALIVE_S = 75  # longer than peers and containerd keep an idle connection: they close it, not we
_RESOLVE_SHARE = 0.6  # of the time to the first byte: what is left then still reaches a peer or the disk


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Answer requests until `stop` is set; then transfers may finish for 30 s. Raises `StartupError`."""
    try:
        images = ImageFilter(settings.mirrored_registries, settings.registry_filters)
    except InvalidFilter as error:
        raise StartupError(str(error)) from error
    auth = _basic_auth(settings)
    tls = _tls_files(settings)
    context = http_server_context(tls, verify_clients=settings.tls_verify_clients) if tls else None
    raise_descriptor_limit()
    data_socket, admin_socket = bind(settings.registry_listen), bind(settings.admin_listen)
    bound_memory(data_socket, encrypted=context is not None)
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
    with (
        telemetry.tracing("heliograph-registry", settings.node_name),
        open_pumps(readers) as pumps,
        readers,
    ):
        async with open_mirror(settings, content, images, readers, metrics, auth) as (mirror, ahead):
            answers = Answers(ahead, metrics)
            protocol = partial(
                MirrorProtocol, pumps=pumps, at_once=auth.guard(answers.get) if auth else answers.get
            )
            data = serve_http(
                Distribution(mirror, metrics, answers, auth),
                data_socket,
                protocol=protocol,
                limits=Limits(connections=settings.max_connections, idle_s=_KEEP_ALIVE_S),
                keep_alive_s=_KEEP_ALIVE_S,
                shutdown_s=_SHUTDOWN_S,
                tls=context,
            )
            async with serve_http(admin, admin_socket), data:
                log.info(
                    "serving",
                    node=settings.node_name,
                    address=str(settings.registry_listen),
                    content=str(settings.content_path),
                )
                await stop.wait()
                log.info("stopping", node=settings.node_name)
                mirror.stop_waiting()


@asynccontextmanager
async def open_mirror(
    settings: Settings,
    content: FileContent,
    images: ImageFilter,
    readers: ThreadPoolExecutor,
    metrics: Metrics,
    auth: BasicAuth | None = None,
) -> AsyncIterator[tuple[Mirror, Ahead]]:
    node, first_byte_s = settings.node_name, settings.first_byte_timeout_ms / 1000
    facts, tls = StateFile(settings.state_path), _tls_files(settings)
    routers = open_resolver(
        settings.router_target,
        node=node,
        zone=settings.zone,
        max_peers=settings.peer_attempts,
        metrics=metrics,
        tls=tls,
        server_name=settings.tls_server_name,
    )
    async with (
        routers as resolver,
        open_peers(
            node,
            stall_s=settings.peer_stall_timeout_s,
            metrics=metrics,
            authorization=auth.own if auth else None,
            tls=PeerTls(client_contexts(tls), settings.tls_server_name) if tls else None,
        ) as peers,
        open_dns_peers([Address.parse(text) for text in settings.peer_dns]) as nearby,
    ):
        peering = Peering(
            node=node,
            facts=facts,
            resolver=Ladder(resolver, peers, nearby, facts, node=node),
            peers=peers,
            attempts=settings.peer_attempts,
            resolve_timeout_s=first_byte_s * _RESOLVE_SHARE,
        )
        waits = Waits(peering, wait_s=settings.wait_ms / 1000, first_byte_s=first_byte_s)
        async with open_ahead(peering.resolve, content.lacks) as ahead:
            opened = open_blobs(
                content,
                peering,
                ahead,
                FileSpool(settings.spool_path, readers, metrics),
                waits,
                first_byte_s=first_byte_s,
                transfers=settings.max_transfers,
            )
            async with opened as blobs:
                metrics.follow(blobs.to_clients, blobs.to_peers, most=settings.max_transfers)
                mirror = Mirror(
                    content=content,
                    facts=facts,
                    peering=peering,
                    blobs=blobs,
                    ahead=ahead,
                    waits=waits,
                    images=images,
                    first_byte_s=first_byte_s,
                )
                yield mirror, ahead


def _basic_auth(settings: Settings) -> BasicAuth | None:
    if settings.basic_auth_file is None:
        return None
    return BasicAuth(reloaded_accounts("basic-auth", settings.basic_auth_file))


def _tls_files(settings: Settings) -> TlsFiles | None:
    """With a certificate of our own everything is encrypted, without one nothing."""
    if settings.tls_cert_file is None:
        return None
    return TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)
