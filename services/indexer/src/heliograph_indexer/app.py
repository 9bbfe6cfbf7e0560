"""Puts the indexer together: the only module that knows every adapter."""

import asyncio
import time

from heliograph_indexer.adapters import metrics
from heliograph_indexer.adapters.containerd import ContainerdStore
from heliograph_indexer.adapters.nats import NatsBus
from heliograph_indexer.adapters.oci_layout import OciLayoutStore
from heliograph_indexer.adapters.registry_http import RegistryReadyz
from heliograph_indexer.adapters.route import RouteToBus
from heliograph_indexer.adapters.state_file import NodeStateFile
from heliograph_indexer.ports import ContentStore
from heliograph_indexer.reachability import follow_reachability
from heliograph_indexer.service import AdmitsTag, Indexer
from heliograph_indexer.settings import Settings
from heliograph_shared import telemetry
from heliograph_shared.admin import admin_app
from heliograph_shared.filters import ImageFilter, InvalidFilter
from heliograph_shared.http import serve_http
from heliograph_shared.reference import parse_tag_reference
from heliograph_shared.runtime import StartupError, background, bind


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Announce this node until `stop`. Raises `StartupError`."""
    bus = NatsBus(settings.node_name, settings.zone)
    indexer = Indexer(
        store=_store(settings),
        bus=bus,
        state_file=NodeStateFile(settings.state_path, settings.node_name),
        admits_tag=_filter(settings),
        incarnation=time.time_ns(),
        heartbeat_s=settings.heartbeat_s,
    )
    metrics.follow(indexer.advertised, indexer.following, lambda: bus.connected)
    reachability = follow_reachability(
        settings.advertise,
        route=RouteToBus(settings.nats_url),
        registry=RegistryReadyz(settings.registry_ready_url) if settings.registry_ready_url else None,
        report=indexer.advertise,
    )
    with telemetry.tracing("heliograph-indexer", settings.node_name):
        async with (
            serve_http(admin_app(indexer.unready_reason), bind(settings.admin_listen)),
            bus.open(
                settings.nats_url,
                on_connected=indexer.bus_connected,
                on_hello=indexer.router_started,
                on_snapshot=indexer.snapshot,
            ),
        ):
            async with background(indexer.run(), reachability):
                await stop.wait()
            await indexer.leave()


def _store(settings: Settings) -> ContentStore:
    if settings.content_store == "containerd":
        return ContainerdStore(
            settings.containerd_socket, settings.containerd_namespace, settings.content_path
        )
    assert settings.content_path is not None
    return OciLayoutStore(settings.content_path)


def _filter(settings: Settings) -> AdmitsTag:
    try:
        images = ImageFilter(settings.mirrored_registries, settings.registry_filters)
    except InvalidFilter as error:
        raise StartupError(str(error)) from error

    def admits(reference: str) -> bool:
        parsed = parse_tag_reference(reference)
        return images.admits(parsed.registry, parsed.repository, parsed.tag)

    return admits
