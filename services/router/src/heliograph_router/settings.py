"""What the router is told."""

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
    """Knows which node holds which content."""

    nats_url: NatsUrls
    nats_user_file: NatsUserFile
    tls_cert_file: TlsCertFile
    tls_key_file: TlsKeyFile
    tls_ca_file: TlsCaFile
    tls_verify_clients: TlsVerifyClients = False
    router_listen: ListenAddress = Field(
        Address("::", 5001), description="where resolvers are answered, gRPC"
    )
    admin_listen: ListenAddress = Field(
        Address("", 9092), description="host:port of /metrics, /livez and /readyz"
    )
    lease_s: float = Field(
        30,
        gt=0,
        le=3600,
        description="seconds after which a node that was not heard is taken for lost; "
        "a router that starts settles for half of it, at most 15 s",
    )
    upstream_leaders: int = Field(
        1,
        gt=0,
        le=100,
        description="nodes that go upstream, for each replica, for a blob that others wait for",
    )
