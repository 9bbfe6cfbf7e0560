"""Wires the mirror: its use cases and the adapters that they need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from heliograph_registry.adapters.dns import open_dns_peers
from heliograph_registry.adapters.filesystem import Readers
from heliograph_registry.adapters.http_server.basic_auth import BasicAuth
from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.peer_client.client import open_peers
from heliograph_registry.adapters.peer_client.connections import PeerTls
from heliograph_registry.adapters.router_client.resolver import GrpcResolver, open_resolver
from heliograph_registry.adapters.spool import FileSpool
from heliograph_registry.adapters.state_file import StateFile
from heliograph_registry.mirror.blobs import Blobs, open_blobs
from heliograph_registry.mirror.completeness import Completeness
from heliograph_registry.mirror.domain.request_log import RequestLog
from heliograph_registry.mirror.domain.throughput import Throughput
from heliograph_registry.mirror.local_content import LocalContent
from heliograph_registry.mirror.lookahead import Lookahead, open_lookahead
from heliograph_registry.mirror.manifests import Manifests
from heliograph_registry.mirror.mirror import Mirror
from heliograph_registry.mirror.peering import Peering
from heliograph_registry.mirror.routerless import RouterlessResolver
from heliograph_registry.mirror.waiting import WaitingRequests
from heliograph_registry.settings import Settings
from heliograph_shared.address import Address
from heliograph_shared.filters import ImageFilter
from heliograph_shared.platforms import Matcher
from heliograph_shared.tls import TlsFiles, client_contexts

_LEAST_CONNECT_S, _CONNECT_SHARE = 0.2, 2 / 3  # the share of the time to the first byte
_RESOLVE_SHARE = 0.6  # of the time limit for the first byte; the rest is for a peer or the disk
_ROUTERLESS_SHARE = 1 / 3  # of that limit, for finding a peer while no router answers


@dataclass(frozen=True, slots=True)
class MirrorComponents:
    """The mirror, and its components that the debug page and the data port use."""

    mirror: Mirror
    lookahead: Lookahead
    blobs: Blobs
    peering: Peering
    routers: GrpcResolver
    routerless: RouterlessResolver
    facts: StateFile


@asynccontextmanager
async def open_mirror(
    settings: Settings,
    content: LocalContent,
    images: ImageFilter,
    readers: Readers,
    metrics: RegistryMetrics,
    request_log: RequestLog,
    auth: BasicAuth | None = None,
) -> AsyncIterator[MirrorComponents]:
    node, first_byte_s = settings.node_name, settings.first_byte_timeout_ms / 1000
    facts, tls = StateFile(settings.state_path), tls_files(settings)
    throughput = Throughput()
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
            slow_below=throughput.slow_below,
            metrics=metrics,
            authorization=auth.own if auth else None,
            tls=PeerTls(client_contexts(tls), settings.tls_server_name) if tls else None,
            connect_s=max(_LEAST_CONNECT_S, first_byte_s * _CONNECT_SHARE),
        ) as peers,
        open_dns_peers([Address.parse(text) for text in settings.peer_dns]) as discovery,
    ):
        routerless = RouterlessResolver(
            resolver, peers, discovery, facts, node=node, ask_s=first_byte_s * _ROUTERLESS_SHARE
        )
        peering = Peering(
            node=node,
            facts=facts,
            resolver=routerless,
            peers=peers,
            attempts=settings.peer_attempts,
            resolve_timeout_s=first_byte_s * _RESOLVE_SHARE,
            throughput=throughput,
            fetched=request_log.received.add,
        )
        waiting = WaitingRequests(peering, wait_s=settings.wait_ms / 1000, first_byte_s=first_byte_s)
        async with open_lookahead(peering.resolve, content.lacks) as lookahead:
            opened = open_blobs(
                content,
                peering,
                lookahead,
                FileSpool(settings.spool_path, readers, metrics),
                waiting,
                first_byte_s=first_byte_s,
                transfers=settings.max_transfers,
            )
            async with opened as blobs:
                metrics.follow(blobs.to_clients, blobs.to_peers, most=settings.max_transfers)
                manifests = Manifests(content, peering, lookahead)
                platform = Matcher(settings.platform)
                mirror = Mirror(
                    facts=facts,
                    peering=peering,
                    blobs=blobs,
                    lookahead=lookahead,
                    manifests=manifests,
                    completeness=Completeness(platform, content, peering, lookahead, manifests),
                    waiting=waiting,
                    images=images,
                    first_byte_s=first_byte_s,
                )
                yield MirrorComponents(mirror, lookahead, blobs, peering, resolver, routerless, facts)


def tls_files(settings: Settings) -> TlsFiles | None:
    """None without a certificate. With one, all connections to peers, routers and the data port use TLS."""
    if settings.tls_cert_file is None:
        return None
    return TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)
