"""The router's settings."""

from pydantic import Field

from heliograph_shared.address import Address, ListenAddress
from heliograph_shared.settings import (
    NatsUrls,
    NatsUserFile,
    ServiceSettings,
    TlsCaFile,
    TlsCertFile,
    TlsKeyFile,
    TlsVerifyClients,
)


class Settings(ServiceSettings):
    """Answers which nodes hold which content."""

    nats_url: NatsUrls
    nats_user_file: NatsUserFile
    tls_cert_file: TlsCertFile
    tls_key_file: TlsKeyFile
    tls_ca_file: TlsCaFile
    tls_verify_clients: TlsVerifyClients = False
    router_listen: ListenAddress = Field(
        Address("::", 5001), description="address of the resolver API (gRPC)"
    )
    admin_listen: ListenAddress = Field(
        Address("", 9092), description="host:port of /metrics, /livez and /readyz"
    )
    lease_s: float = Field(
        30,
        gt=0,
        le=3600,
        description="seconds without a message after which a node is considered lost; "
        "a new router waits half of it, at most 15 s, before it is ready",
    )
    upstream_leaders: int = Field(
        1,
        gt=0,
        le=100,
        description="how many nodes each router replica sends upstream for a blob; "
        "the others wait for their copies",
    )
