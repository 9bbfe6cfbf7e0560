"""Puts the router together: the only module that knows every adapter."""

import asyncio
import gc
import random
import socket

import structlog

from heliograph_router.adapters.grpc import serve_resolver
from heliograph_router.adapters.metrics import Metrics, State
from heliograph_router.adapters.nats import NatsBus
from heliograph_router.service import Router
from heliograph_router.settings import Settings
from heliograph_shared import telemetry
from heliograph_shared.admin import admin_app
from heliograph_shared.bus_client import Access
from heliograph_shared.http import serve_http
from heliograph_shared.rpc.credentials import server_credentials
from heliograph_shared.runtime import background, bind
from heliograph_shared.tls import TlsFiles

log = structlog.get_logger()

# An index is a million small objects that live on and hold no cycles: with Python's own thresholds looking at
# all of them takes a fifth of the time, in pauses of tens of milliseconds (`make bench ONLY=resolve`).
_COLLECTIONS = (50_000, 50, 1_000)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Keep the index and answer who has what until `stop`. Raises `StartupError`."""
    gc.set_threshold(*_COLLECTIONS)
    name = socket.gethostname()
    metrics = Metrics()
    tls = TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)
    access = Access.by_files(settings.nats_url, settings.nats_user_file, tls)
    credentials = None
    if settings.tls_cert_file is not None:
        credentials = server_credentials(tls, verify_clients=settings.tls_verify_clients)
    bus = NatsBus(name, metrics)
    router = Router(
        lease_s=settings.lease_s,
        leaders=settings.upstream_leaders,
        snapshots=bus,
        link=bus,
        below=random.randrange,
    )

    def readiness() -> str | None:
        return "stopping" if stop.is_set() else router.unready_reason()

    metrics.follow(
        State(
            totals=router.totals,
            parked=router.parked,
            frozen=router.leases_frozen,
            ready=lambda: readiness() is None,
            connected=lambda: bus.connected,
        )
    )

    with telemetry.tracing("heliograph-router", instance=name):
        async with (
            serve_http(admin_app(readiness, metrics.collected), bind(settings.admin_listen)),
            serve_resolver(
                settings.router_listen,
                resolve=router.resolve,
                resolve_or_wait=router.resolve_or_wait,
                nodes=router.nodes,
                totals=router.totals,
                tags=router.tags,
                readiness=readiness,
                metrics=metrics,
                credentials=credentials,
            ),
            bus.open(
                settings.nats_url,
                access,
                on_event=router.heard,
                on_hello_sent=router.hello_sent,
                on_link_lost=router.link_lost,
            ),
            background(router.run()),
        ):
            log.info("serving", router=name, address=str(settings.router_listen), lease_s=settings.lease_s)
            await stop.wait()
            log.info("stopping", router=name)
            router.stop_waiting()
