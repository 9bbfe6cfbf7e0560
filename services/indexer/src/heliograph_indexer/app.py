"""Puts the indexer together: the only module that knows every adapter."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from heliograph_indexer.adapters import metrics
from heliograph_indexer.adapters.containerd import ContainerdStore
from heliograph_indexer.adapters.containerd_config import read_settings
from heliograph_indexer.adapters.containerd_inspection import open_inspection
from heliograph_indexer.adapters.content_folder import look_into
from heliograph_indexer.adapters.nats import NatsBus
from heliograph_indexer.adapters.nats_probe import NatsProbe
from heliograph_indexer.adapters.oci_layout import OciLayoutStore
from heliograph_indexer.adapters.registry_probe import RegistryProbe
from heliograph_indexer.adapters.route import RouteToBus
from heliograph_indexer.adapters.state_file import NodeStateFile
from heliograph_indexer.domain.checks import Check
from heliograph_indexer.examination import Examination
from heliograph_indexer.ports import ContentStore
from heliograph_indexer.probe import probe
from heliograph_indexer.reachability import follow_reachability
from heliograph_indexer.service import AdmitsTag, Indexer
from heliograph_indexer.settings import Settings
from heliograph_shared import telemetry
from heliograph_shared.admin import admin_app
from heliograph_shared.bus_client import Access
from heliograph_shared.filters import ImageFilter, InvalidFilter
from heliograph_shared.findings import Finding, Unchecked
from heliograph_shared.findings_publisher import FindingsPublisher
from heliograph_shared.http import serve_http
from heliograph_shared.readyz import Readyz
from heliograph_shared.reference import Reference, parse_tag_reference
from heliograph_shared.runtime import StartupError, background, bind
from heliograph_shared.tls import TlsFiles


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Announce this node until `stop`. Raises `StartupError`."""
    access = _access(settings)
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
        registry=Readyz(settings.registry_ready_url) if settings.registry_ready_url else None,
        report=indexer.advertise,
    )
    publisher = FindingsPublisher(Check)
    admin = admin_app(indexer.unready_reason)
    admin.routes.append(publisher.route())
    with telemetry.tracing("heliograph-indexer", settings.node_name):
        async with (
            serve_http(admin, bind(settings.admin_listen)),
            bus.open(
                settings.nats_url,
                access,
                on_connected=indexer.bus_connected,
                on_hello=indexer.router_started,
                on_snapshot=indexer.snapshot,
            ),
        ):
            examined = publisher.keep_examined(examination(settings).report)
            async with background(indexer.run(), reachability, examined):
                await stop.wait()
            await indexer.leave()


def examination(settings: Settings, *, ask_bus: bool = True) -> Examination:
    """What the doctor looks at, at start-up, now and then, and on demand. Raises `StartupError`."""
    containerd = settings.content_store == "containerd"
    return Examination(
        runtime=partial(open_inspection, settings.containerd_socket, settings.containerd_namespace)
        if containerd
        else None,
        namespace=settings.containerd_namespace,
        config_path=str(settings.registry_config_path),
        read_config=partial(read_settings, settings.containerd_config_path),
        content_path=settings.content_path,
        look_into=look_into,
        bus=NatsProbe(settings.nats_url, _access(settings)) if ask_bus else None,
        route=RouteToBus(settings.nats_url),
        advertise=settings.advertise,
        registry=RegistryProbe(settings.registry_ready_url),
    )


async def probe_pull(settings: Settings, reference: Reference) -> Sequence[Finding | Unchecked]:
    """Raises `StoreUnavailable`."""
    images = ImageFilter(settings.mirrored_registries, settings.registry_filters)
    mirrored = images.admits(reference.registry, reference.repository, reference.tag)
    async with open_inspection(settings.containerd_socket, settings.containerd_namespace) as puller:
        registry = RegistryProbe(settings.registry_ready_url)
        return await probe(puller, registry, reference, mirrored=mirrored)


def _access(settings: Settings) -> Access:
    tls = TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)
    return Access.by_files(settings.nats_url, settings.nats_user_file, tls)


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
