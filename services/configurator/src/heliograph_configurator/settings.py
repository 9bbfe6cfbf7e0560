"""What a configurator is told."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from heliograph_configurator.domain.registry import ConflictingRegistries, Registry, unique
from heliograph_shared.address import Address, ListenAddress
from heliograph_shared.filters import ImageFilter
from heliograph_shared.settings import (
    CommaList,
    MirroredRegistries,
    OptionalFile,
    OptionalHttpUrl,
    RegistryFilters,
    ServiceSettings,
    TlsKeyFile,
)

# Of what Go's time.ParseDuration takes, as much as makes sense here.
_duration = re.compile(r"(?:[0-9]{1,6}(?:\.[0-9]{1,6})?(?:ms|s|m))+").fullmatch


class Settings(ServiceSettings):
    """Points containerd at its node's mirror."""

    registry_config_path: Path = Field(
        Path("/etc/containerd/certs.d"), description="containerd's config_path, where hosts.toml files lie"
    )
    mirrored_registries: MirroredRegistries
    mirror_targets: CommaList = Field(
        ("http://127.0.0.1:5000",),
        min_length=1,
        description="mirrors, in the order in which they are asked: URLs, separated by commas",
    )
    additional_mirror_targets: CommaList = Field(
        (),
        description="mirrors of somebody else's, asked after those; they get no credentials",
    )
    dial_timeout: str = Field(
        "",
        description="how long containerd tries to connect to a mirror, such as 200ms; "
        "2.0.7 and newer heed it; empty: 30 s",
    )
    basic_auth_file: OptionalFile = Field(
        None, description="file of user:password lines; containerd shows the first to the mirrors"
    )
    tls_ca_file: OptionalFile = Field(
        None, description="authorities, PEM, by which containerd knows https mirrors; empty: the node's own"
    )
    tls_cert_file: OptionalFile = Field(
        None, description="certificate, PEM, that containerd shows to https mirrors"
    )
    tls_key_file: TlsKeyFile
    resolve_tags: bool = Field(True, description="whether mirrors are asked for tags, not only for digests")
    prepend_existing: bool = Field(
        False, description="put mirrors before the hosts that a hosts.toml names already, and keep those"
    )
    registry_filters: RegistryFilters
    registry_ready_url: OptionalHttpUrl = Field(
        "",
        description="watch: readiness URL of this node's registry; mirrors are written once it answers 200; "
        "empty: at once",
    )
    withdraw_after_s: float = Field(
        60,
        gt=0,
        le=86400,
        description="watch: seconds without such an answer until what was there before is restored",
    )
    admin_listen: ListenAddress = Field(
        Address("", 9093), description="watch: host:port of /metrics, /livez, /readyz and /debug/findings"
    )

    @field_validator("mirror_targets", "additional_mirror_targets")
    @classmethod
    def _are_urls(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_url(target) for target in targets))

    @field_validator("mirrored_registries")
    @classmethod
    def _are_registries(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        try:
            unique(map(Registry.parse, entries))
        except ConflictingRegistries as error:
            raise ValueError(str(error)) from error
        return entries

    @field_validator("registry_filters")
    @classmethod
    def _are_expressions(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        ImageFilter(excluded=patterns)
        return patterns

    @field_validator("dial_timeout")
    @classmethod
    def _is_a_duration(cls, duration: str) -> str:
        if duration and not (_duration(duration) and any(digit in duration for digit in "123456789")):
            raise ValueError("not a duration such as 200ms or 1.5s")
        return duration

    @property
    def registries(self) -> tuple[Registry, ...] | None:
        """The registries to be mirrored, None for all; those that a filter leaves out whole are not asked."""
        if not self.mirrored_registries:
            return None
        images = ImageFilter(excluded=self.registry_filters)
        named = unique(map(Registry.parse, self.mirrored_registries))
        return tuple(registry for registry in named if images.admits(registry.host, ""))


def _url(target: str) -> str:
    parts = urlsplit(target)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError(f"not a mirror: {target!r} (wanted http[s]://host[:port])")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"not a mirror: {target!r} (wanted no user, query or fragment)")
    return target.rstrip("/")
