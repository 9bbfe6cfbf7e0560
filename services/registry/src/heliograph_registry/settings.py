"""The registry's settings."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from heliograph_shared.address import Address, ListenAddress
from heliograph_shared.settings import (
    Addresses,
    MirroredRegistries,
    NodeName,
    OptionalFile,
    PlatformName,
    RegistryFilters,
    ServiceSettings,
    TlsCaFile,
    TlsCertFile,
    TlsKeyFile,
    TlsVerifyClients,
)


class Settings(ServiceSettings):
    """Serves this node's content, and its peers' content as a mirror."""

    node_name: NodeName
    zone: str = Field("", description="this node's zone; peers of the same zone are asked first")
    platform: PlatformName
    content_path: Path = Field(
        Path("/var/lib/containerd/io.containerd.content.v1.content"),
        description="the content store: the directory that contains blobs/",
    )
    state_path: Path = Field(
        Path("/run/heliograph/node.json"),
        description="the file in which the node's indexer writes its tags and addresses",
    )
    registry_listen: ListenAddress = Field(Address("::", 5000), description="address of the data port")
    admin_listen: ListenAddress = Field(
        Address("::", 9090), description="address of the admin port: health, metrics, debug page"
    )
    debug_web: bool = Field(True, description="serve the debug page, /debug/web, on the admin port")
    indexer_url: str = Field(
        "http://127.0.0.1:9091",
        description="admin port of this node's indexer, whose doctor's findings the debug page shows; "
        "empty: none",
    )
    configurator_url: str = Field(
        "http://127.0.0.1:9093",
        description="admin port of this node's configurator, whose doctor's findings the debug page shows; "
        "empty: none",
    )
    router_target: str = Field(
        "dns:///127.0.0.1:5001",
        description="gRPC target of the routers: `dns:///NAME:PORT`, where each address of the name is a "
        "replica, or `ipv4:ADDRESS:PORT,ADDRESS:PORT`",
    )
    basic_auth_file: OptionalFile = Field(
        None,
        description="file of user:password lines; every request for content needs one of them, "
        "and requests to peers use the first; empty: no authentication",
    )
    tls_cert_file: TlsCertFile
    tls_key_file: TlsKeyFile
    tls_ca_file: TlsCaFile
    tls_verify_clients: TlsVerifyClients = False
    tls_server_name: str = Field(
        "", description="name that certificates of peers and routers must have; empty: their address"
    )
    peer_dns: Addresses = Field(
        (),
        max_length=16,
        description="host:port, separated by commas, whose DNS names resolve to the registries of all nodes; "
        "up to 8 are asked directly while no router answers; for clusters under 500 nodes; empty: off",
    )
    mirrored_registries: MirroredRegistries
    registry_filters: RegistryFilters
    first_byte_timeout_ms: int = Field(
        300, gt=0, le=25_000, description="time limit in milliseconds for the first byte; then 404"
    )
    wait_ms: int = Field(
        0,
        ge=0,
        le=25_000,
        description="milliseconds that a request may wait for a blob that another node is fetching from "
        "upstream; 0: off, each node fetches for itself; 25,000 if upstream limits rates or costs money. "
        "containerd 2.3 and newer go upstream after 30 s without a response header",
    )
    peer_attempts: int = Field(
        3, gt=0, le=16, description="peers that are tried for one request; if all fail, as many others"
    )
    max_transfers: int = Field(
        128,
        gt=0,
        description="blobs that are sent at once to peers, and as many again to other clients; then 503",
    )
    max_connections: int = Field(
        1024, gt=0, description="connections to the data port; beyond that, those idle longest are closed"
    )
    peer_stall_timeout_s: float = Field(
        10,
        gt=0,
        le=120,
        description="seconds a peer may send almost nothing; then it has failed. A peer that is slower than "
        "others is replaced sooner",
    )
    spool_path: Path = Field(
        Path("/tmp"),  # noqa: S108 - files without names
        description="directory for blobs that are requested again, and hashed before they are sent",
    )

    @field_validator("tls_ca_file")
    @classmethod
    def _goes_with_a_certificate(cls, authority: Path | None, info: ValidationInfo) -> Path | None:
        if (authority is None) is not (info.data.get("tls_cert_file") is None):
            raise ValueError("it verifies peers and routers, and goes together with our own certificate")
        return authority
