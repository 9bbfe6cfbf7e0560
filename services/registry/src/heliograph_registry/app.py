"""Wires the registry: the only module that knows every adapter."""

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import structlog
from fastapi import FastAPI

from heliograph_registry.adapters.answers import Answers
from heliograph_registry.adapters.asgi import Distribution
from heliograph_registry.adapters.basic_auth import BasicAuth
from heliograph_registry.adapters.connections import PeerTls
from heliograph_registry.adapters.directory import GrpcDirectory
from heliograph_registry.adapters.dns import open_dns_peers
from heliograph_registry.adapters.doctors import DoctorOf
from heliograph_registry.adapters.filesystem import FileContent, open_readers
from heliograph_registry.adapters.grpc import GrpcResolver, open_resolver
from heliograph_registry.adapters.html.guard import Guard
from heliograph_registry.adapters.html.pages import Pages
from heliograph_registry.adapters.html.routes import debug_routes
from heliograph_registry.adapters.html.streams import Streams
from heliograph_registry.adapters.http1 import open_peers
from heliograph_registry.adapters.loopback import Loopback
from heliograph_registry.adapters.metrics import Metrics
from heliograph_registry.adapters.pump import open_pumps
from heliograph_registry.adapters.spool import FileSpool
from heliograph_registry.adapters.state_file import StateFile
from heliograph_registry.adapters.uvicorn import MirrorProtocol, bound_memory
from heliograph_registry.ahead import Ahead, open_ahead
from heliograph_registry.blobs import Blobs, open_blobs
from heliograph_registry.domain.explanation import Bearings
from heliograph_registry.domain.journal import Journal
from heliograph_registry.ladder import Ladder
from heliograph_registry.measure import Measurements
from heliograph_registry.overview import Identity, Overviews
from heliograph_registry.peering import Peering
from heliograph_registry.service import Mirror
from heliograph_registry.settings import Settings
from heliograph_registry.waits import Waits
from heliograph_registry.why import Why
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
_MOST_REMEMBERED = 100
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


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

    metrics, journal = Metrics(), Journal()
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
        async with open_mirror(settings, content, images, readers, metrics, journal, auth) as parts:
            answers = Answers(parts.ahead, metrics, journal)
            protocol = partial(
                MirrorProtocol, pumps=pumps, at_once=auth.guard(answers.get) if auth else answers.get
            )
            data = serve_http(
                Distribution(parts.mirror, metrics, answers, journal, auth),
                data_socket,
                protocol=protocol,
                limits=Limits(connections=settings.max_connections, idle_s=_KEEP_ALIVE_S),
                keep_alive_s=_KEEP_ALIVE_S,
                shutdown_s=_SHUTDOWN_S,
                tls=context,
            )
            listening = Address(settings.registry_listen.host, data_socket.getsockname()[1])
            own_port = Loopback(
                listening,
                wait_s=settings.wait_ms / 1000,
                authorization=auth.own if auth else lambda: None,
                encryption=client_contexts(tls, checks_name=False).current if tls else lambda: None,
            )
            end_measurement = _add_debug_page(
                admin, settings, parts, journal, images, content, readiness, own_port, stop
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
                end_measurement("this registry is stopping")
                parts.mirror.stop_waiting()


@dataclass(frozen=True, slots=True)
class MirrorParts:
    """A mirror, and what of it is of interest to others."""

    mirror: Mirror
    ahead: Ahead
    blobs: Blobs
    peering: Peering
    routers: GrpcResolver
    ladder: Ladder
    facts: StateFile


@asynccontextmanager
async def open_mirror(
    settings: Settings,
    content: FileContent,
    images: ImageFilter,
    readers: ThreadPoolExecutor,
    metrics: Metrics,
    journal: Journal,
    auth: BasicAuth | None = None,
) -> AsyncIterator[MirrorParts]:
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
        ladder = Ladder(resolver, peers, nearby, facts, node=node)
        peering = Peering(
            node=node,
            facts=facts,
            resolver=ladder,
            peers=peers,
            attempts=settings.peer_attempts,
            resolve_timeout_s=first_byte_s * _RESOLVE_SHARE,
            fetched=journal.taken.add,
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
                yield MirrorParts(mirror, ahead, blobs, peering, resolver, ladder, facts)


def _basic_auth(settings: Settings) -> BasicAuth | None:
    if settings.basic_auth_file is None:
        return None
    return BasicAuth(reloaded_accounts("basic-auth", settings.basic_auth_file))


def _tls_files(settings: Settings) -> TlsFiles | None:
    """With a certificate of our own everything is encrypted, without one nothing."""
    if settings.tls_cert_file is None:
        return None
    return TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)


def _add_debug_page(
    admin: FastAPI,
    settings: Settings,
    parts: MirrorParts,
    journal: Journal,
    images: ImageFilter,
    content: FileContent,
    readiness: Callable[[], str | None],
    own_port: Loopback,
    stop: asyncio.Event,
) -> Callable[[str], None]:
    """Unless it is turned off; gives what ends a measurement that is under way, told why."""
    if not settings.debug_web:
        return lambda _why: None
    directory = GrpcDirectory(lambda: parts.routers.channel)
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
        journal=journal,
        facts=parts.facts,
        directory=directory,
        doctors=_doctors(settings),
        remembered=partial(parts.ladder.remembered, _MOST_REMEMBERED),
        asked_last=parts.peering.asked_last,
    )

    def bearings() -> Bearings:
        return Bearings(
            no_router=None,
            left_alone_s=parts.routers.left_alone_s,
            remembered=tuple(peer.node for peer in parts.ladder.remembered(8)),
            peer_dns=bool(settings.peer_dns),
            attempts=settings.peer_attempts,
            wait_ms=settings.wait_ms,
            first_byte_ms=settings.first_byte_timeout_ms,
            transfers=parts.blobs.under_way,
            most_transfers=settings.max_transfers,
        )

    why = Why(
        node=settings.node_name,
        architecture=architecture,
        attempts=settings.peer_attempts,
        images=images,
        content=content,
        facts=parts.facts,
        mirror=parts.mirror,
        peering=parts.peering,
        directory=directory,
        bearings=bearings,
    )
    measurements = Measurements(own_port, architecture=architecture, proven=parts.mirror.proven)
    guard = Guard()
    pages = Pages(settings.node_name, guard.token)
    streams = Streams(overviews, measurements, pages, stop)
    admin.include_router(debug_routes(overviews, why, measurements, pages, streams, guard))
    return measurements.stop


def _doctors(settings: Settings) -> list[DoctorOf]:
    urls = {"indexer": settings.indexer_url, "configurator": settings.configurator_url}
    return [DoctorOf(service, url) for service, url in urls.items() if url]
