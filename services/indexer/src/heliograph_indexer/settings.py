"""The indexer's settings."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from heliograph_shared.address import Address, ListenAddress
from heliograph_shared.settings import (
    Addresses,
    MirroredRegistries,
    NatsUrls,
    NatsUserFile,
    NodeName,
    OptionalFile,
    OptionalHttpUrl,
    RegistryFilters,
    ServiceSettings,
    TlsCaFile,
    TlsCertFile,
    TlsKeyFile,
)

MAX_ADDRESSES = 16


class Settings(ServiceSettings):
    node_name: NodeName
    nats_url: NatsUrls
    nats_user_file: NatsUserFile
    tls_cert_file: TlsCertFile
    tls_key_file: TlsKeyFile
    tls_ca_file: TlsCaFile
    content_store: Literal["containerd", "oci-layout"] = Field(
        "containerd", description="kind of this node's content store"
    )
    containerd_socket: Path = Field(
        Path("/run/containerd/containerd.sock"), description="containerd's gRPC socket"
    )
    containerd_namespace: str = Field(
        "k8s.io",
        pattern=r"^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$",
        description="containerd namespace whose content is announced",
    )
    content_path: OptionalFile = Field(
        None,
        validate_default=True,
        description="directory that contains blobs/; empty: the one containerd reports",
    )
    state_path: Path = Field(
        Path("/run/heliograph/node.json"),
        description="file that tells this node's registry its tags and addresses",
    )
    advertise: Addresses = Field(
        (),
        max_length=MAX_ADDRESSES,
        description="host:port where peers reach this node's registry, separated by commas; "
        "empty: port 5000 of this node's address on the route to the bus",
    )
    zone: str = Field(
        "", max_length=253, description="this node's zone; peers in the same zone are preferred"
    )
    heartbeat_s: float = Field(10, gt=0, le=3600, description="seconds between heartbeats, plus or minus 20%")
    registry_ready_url: OptionalHttpUrl = Field(
        "",
        description="readiness URL of this node's registry; addresses are advertised while it answers 200, "
        "and what its /unservable lists is not announced; empty: always",
    )
    mirrored_registries: MirroredRegistries
    registry_filters: RegistryFilters
    registry_config_path: Path = Field(
        Path("/etc/containerd/certs.d"),
        description="directory that containerd's config_path should name, or several separated by colons, as "
        "paths of the host; only the doctor uses it",
    )
    containerd_config_path: Path = Field(
        Path("/etc/containerd/config.toml"),
        description="containerd's config.toml; the doctor reads what containerd 2 does not report",
    )
    admin_listen: ListenAddress = Field(
        Address("", 9091), description="host:port of /metrics, /livez, /readyz and /debug/findings"
    )

    @field_validator("content_path")
    @classmethod
    def _layout_has_a_directory(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None and info.data.get("content_store") == "oci-layout":
            raise ValueError("required with oci-layout: the layout's directory")
        return path
