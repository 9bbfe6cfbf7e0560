"""What the registry is told."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from heliograph_shared.address import Address, ListenAddress
from heliograph_shared.settings import (
    Addresses,
    MirroredRegistries,
    NodeName,
    OptionalFile,
    RegistryFilters,
    ServiceSettings,
    TlsCaFile,
    TlsCertFile,
    TlsKeyFile,
    TlsVerifyClients,
)


class Settings(ServiceSettings):
    """Serves this node's content and mirrors its peers."""

    node_name: NodeName
    zone: str = Field("", description="this node's zone; peers of the same zone are asked first")
    content_path: Path = Field(
        Path("/var/lib/containerd/io.containerd.content.v1.content"),
        description="the content store, the directory that holds blobs/",
    )
    state_path: Path = Field(
        Path("/run/heliograph/node.json"), description="what the node's indexer tells: tags and addresses"
    )
    registry_listen: ListenAddress = Field(Address("::", 5000), description="where content is served")
    admin_listen: ListenAddress = Field(
        Address("::", 9090), description="where health and metrics are served"
    )
    debug_web: bool = Field(
        True,
        description="whether the admin port has the debug page, /debug/web",
    )
    indexer_url: str = Field(
        "http://127.0.0.1:9091",
        description="the admin port of this node's indexer; the debug page shows what its doctor found; "
        "empty: it is not asked",
    )
    configurator_url: str = Field(
        "http://127.0.0.1:9093",
        description="the admin port of this node's configurator; the debug page shows what its doctor found; "
        "empty: it is not asked",
    )
    router_target: str = Field("dns:///127.0.0.1:5001", description="the routers, a gRPC target")
    basic_auth_file: OptionalFile = Field(
        None,
        description="file of user:password lines; whoever asks for content must know one of them, "
        "and peers are sent the first; empty: anyone may ask",
    )
    tls_cert_file: TlsCertFile
    tls_key_file: TlsKeyFile
    tls_ca_file: TlsCaFile
    tls_verify_clients: TlsVerifyClients = False
    tls_server_name: str = Field(
        "", description="what the certificates of peers and routers must name; empty: the address"
    )
    peer_dns: Addresses = Field(
        (),
        max_length=16,
        description="host:port that DNS resolves to the registries of all nodes, separated by commas; "
        "up to 8 are asked directly while no router answers, in clusters under 500 nodes; empty: off",
    )
    mirrored_registries: MirroredRegistries
    registry_filters: RegistryFilters
    first_byte_timeout_ms: int = Field(
        300, gt=0, le=25_000, description="milliseconds until a request is answered, 404 if need be"
    )
    wait_ms: int = Field(
        0,
        ge=0,
        le=25_000,
        description="milliseconds that a blob may be waited for that nobody holds but some node fetches; "
        "0: off, each node fetches for itself; 25,000 where upstream limits rates or costs money. "
        "containerd 2.3 and newer go upstream after 30 s without a response header",
    )
    peer_attempts: int = Field(3, gt=0, le=16, description="peers that are tried for one request")
    max_transfers: int = Field(
        128, gt=0, description="blobs sent at once to peers, and as many to other clients; 503 beyond"
    )
    max_connections: int = Field(
        1024, gt=0, description="connections to the data port; beyond, the longest idle are closed"
    )
    peer_stall_timeout_s: float = Field(
        10, gt=0, le=120, description="seconds of next to nothing until a peer is given up"
    )
    spool_path: Path = Field(
        Path("/tmp"),  # noqa: S108 - files without names
        description="where a blob that is asked for again is kept while it is hashed",
    )

    @field_validator("tls_ca_file")
    @classmethod
    def _goes_with_a_certificate(cls, authority: Path | None, info: ValidationInfo) -> Path | None:
        if (authority is None) is not (info.data.get("tls_cert_file") is None):
            raise ValueError(
                "peers and routers are believed by it: it goes together with our own certificate"
            )
        return authority
