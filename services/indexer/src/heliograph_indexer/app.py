"""Wires the indexer together: the only module that knows every adapter."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from heliograph_indexer import pull_probe
from heliograph_indexer.adapters.containerd import ContainerdStore
from heliograph_indexer.adapters.containerd_config import read_settings
from heliograph_indexer.adapters.containerd_environment import read_proxies
from heliograph_indexer.adapters.containerd_inspection import open_inspection
from heliograph_indexer.adapters.content_directory import inspect_content_directory
from heliograph_indexer.adapters.kernel_route import KernelRoute
from heliograph_indexer.adapters.metrics import IndexerMetrics
from heliograph_indexer.adapters.nats import NatsAnnouncer
from heliograph_indexer.adapters.nats_probe import NatsProbe
from heliograph_indexer.adapters.oci_layout import OciLayoutStore
from heliograph_indexer.adapters.registry_http import RegistryHttp
from heliograph_indexer.adapters.state_file import NodeStateFile
from heliograph_indexer.domain.checks import IndexerCheck
from heliograph_indexer.node_examination import NodeExamination
from heliograph_indexer.ports import ContentStore
from heliograph_indexer.reachability import follow_reachability
from heliograph_indexer.service import AdmitsTag, Indexer
from heliograph_indexer.settings import Settings
from heliograph_indexer.withholding import follow_unservable
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
    """Announce this node until `stop` is set. Raises `StartupError`."""
    access = _access(settings)
    metrics = IndexerMetrics()
    bus = NatsAnnouncer(settings.node_name, settings.zone, metrics)
    indexer = Indexer(
        store=_store(settings, metrics),
        bus=bus,
        state_file=NodeStateFile(settings.state_path, settings.node_name),
        admits_tag=_tag_filter(settings),
        incarnation=time.time_ns(),
        heartbeat_s=settings.heartbeat_s,
    )
    metrics.follow(indexer.advertised, indexer.following, lambda: bus.connected)
    reachability = follow_reachability(
        settings.advertise,
        node_address=KernelRoute(settings.nats_url),
        registry=Readyz(settings.registry_ready_url) if settings.registry_ready_url else None,
        report=indexer.advertise,
    )
    following = [reachability]
    if settings.registry_ready_url:
        following.append(follow_unservable(RegistryHttp(settings.registry_ready_url), indexer.withhold))
    publisher = FindingsPublisher(IndexerCheck)
    admin = admin_app(indexer.unready_reason, metrics.collected)
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
            examined = publisher.keep_examined(examination(settings, indexer=indexer).report)
            async with background(indexer.run(), *following, examined):
                await stop.wait()
            await indexer.leave()


def examination(
    settings: Settings, *, ask_bus: bool = True, indexer: Indexer | None = None
) -> NodeExamination:
    """The examination of the running `indexer`, or of the `doctor` command. Raises `StartupError`."""
    containerd = settings.content_store == "containerd"
    return NodeExamination(
        open_runtime=partial(open_inspection, settings.containerd_socket, settings.containerd_namespace)
        if containerd
        else None,
        namespace=settings.containerd_namespace,
        config_path=str(settings.registry_config_path),
        settings_file=partial(read_settings, settings.containerd_config_path),
        content_path=settings.content_path,
        content_directory=inspect_content_directory,
        bus=NatsProbe(settings.nats_url, _access(settings)) if ask_bus else None,
        node_address=KernelRoute(settings.nats_url),
        advertise=settings.advertise,
        registry=RegistryHttp(settings.registry_ready_url),
        proxies=partial(read_proxies, settings.containerd_socket) if containerd else None,
        node_name=settings.node_name,
        indexer=indexer,
    )


async def probe_pull(settings: Settings, reference: Reference) -> Sequence[Finding | Unchecked]:
    """Pull `reference` as `pull_probe` describes. Raises `StartupError`."""
    return await pull_probe.probe_pull(
        partial(open_inspection, settings.containerd_socket, settings.containerd_namespace),
        RegistryHttp(settings.registry_ready_url),
        reference,
        mirrored=_images(settings).admits(reference.registry, reference.repository, reference.tag),
    )


def _access(settings: Settings) -> Access:
    tls = TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)
    return Access.by_files(settings.nats_url, settings.nats_user_file, tls)


def _store(settings: Settings, metrics: IndexerMetrics) -> ContentStore:
    if settings.content_store == "containerd":
        return ContainerdStore(
            settings.containerd_socket, settings.containerd_namespace, settings.content_path, metrics
        )
    assert settings.content_path is not None
    return OciLayoutStore(settings.content_path, metrics)


def _images(settings: Settings) -> ImageFilter:
    try:
        return ImageFilter(settings.mirrored_registries, settings.registry_filters)
    except InvalidFilter as error:
        raise StartupError(str(error)) from error


def _tag_filter(settings: Settings) -> AdmitsTag:
    images = _images(settings)

    def admits(reference: str) -> bool:
        parsed = parse_tag_reference(reference)
        return images.admits(parsed.registry, parsed.repository, parsed.tag)

    return admits
