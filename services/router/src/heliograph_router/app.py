"""The composition root: the only module that knows every adapter."""

import asyncio
import gc
import random
import socket

import structlog

from heliograph_router.adapters.grpc import serve_resolver
from heliograph_router.adapters.metrics import MetricSources, RouterMetrics
from heliograph_router.adapters.nats import NatsSubscriber
from heliograph_router.service import RouterService
from heliograph_router.settings import Settings
from heliograph_shared import telemetry
from heliograph_shared.admin import admin_app
from heliograph_shared.bus_client import Access
from heliograph_shared.http import serve_http
from heliograph_shared.rpc.credentials import server_credentials
from heliograph_shared.runtime import background, bind
from heliograph_shared.tls import TlsFiles

log = structlog.get_logger()

# The index is millions of small, long-lived objects without cycles. With Python's default thresholds, garbage
# collection takes a fifth of the time, in pauses of tens of milliseconds (`make bench ONLY=resolve`).
_GC_THRESHOLDS = (50_000, 50, 1_000)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the router until `stop` is set. Raises `StartupError`."""
    gc.set_threshold(*_GC_THRESHOLDS)
    name = socket.gethostname()
    metrics = RouterMetrics()
    tls = TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)
    access = Access.by_files(settings.nats_url, settings.nats_user_file, tls)
    credentials = None
    if settings.tls_cert_file is not None:
        credentials = server_credentials(tls, verify_clients=settings.tls_verify_clients)
    bus = NatsSubscriber(name, metrics)
    router = RouterService(
        lease_s=settings.lease_s,
        leaders=settings.upstream_leaders,
        snapshots=bus,
        link=bus,
        random_below=random.randrange,
    )

    def readiness() -> str | None:
        return "stopping" if stop.is_set() else router.unready_reason()

    metrics.read_from(
        MetricSources(
            totals=router.totals,
            shared_names=router.shared_names,
            parked=router.parked,
            frozen=router.leases_frozen,
            ready=lambda: readiness() is None,
            current=router.is_current,
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
                is_current=router.is_current,
                metrics=metrics,
                credentials=credentials,
            ),
            bus.open(
                settings.nats_url,
                access,
                on_event=router.handle,
                on_hello_sent=router.hello_sent,
                on_link_lost=router.link_lost,
            ),
            background(router.run()),
        ):
            log.info("serving", router=name, address=str(settings.router_listen), lease_s=settings.lease_s)
            await stop.wait()
            log.info("stopping", router=name)
            router.stop_waiting()
