"""Settings of the configurator."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from heliograph_configurator.domain.registry import ConflictingRegistries, UpstreamRegistry, unique
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

# The part of the syntax of Go's time.ParseDuration that is useful here.
_duration = re.compile(r"(?:[0-9]{1,6}(?:\.[0-9]{1,6})?(?:ms|s|m))+").fullmatch


class Settings(ServiceSettings):
    """Makes containerd ask its node's mirror first."""

    registry_config_path: Path = Field(
        Path("/etc/containerd/certs.d"),
        description="containerd's config_path: the folder with the hosts.toml files; of several, separated "
        "by colons, the first is written to, and what the others hold for a registry is kept",
    )
    mirrored_registries: MirroredRegistries
    mirror_targets: CommaList = Field(
        ("http://127.0.0.1:5000",),
        min_length=1,
        description="mirrors in the order in which containerd asks them: URLs, separated by commas",
    )
    additional_mirror_targets: CommaList = Field(
        (),
        description="mirrors run by others, asked after the mirror targets; they are sent no credentials",
    )
    dial_timeout: str = Field(
        "",
        description="time limit for containerd to connect to a mirror, such as 200ms; "
        "only containerd 2.0.7 and newer use it; empty: 30 s",
    )
    basic_auth_file: OptionalFile = Field(
        None, description="file of user:password lines; containerd sends the first to the mirrors"
    )
    tls_ca_file: OptionalFile = Field(
        None, description="CA bundle, PEM, with which containerd verifies https mirrors; empty: the node's"
    )
    tls_cert_file: OptionalFile = Field(
        None, description="client certificate, PEM, that containerd presents to https mirrors"
    )
    tls_key_file: TlsKeyFile
    resolve_tags: bool = Field(True, description="ask the mirrors for tags too, not only for digests")
    prepend_existing: bool = Field(
        False,
        description="put mirrors before the hosts of an existing hosts.toml instead of replacing the file",
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
        description="watch: seconds without a ready registry until the original files are restored",
    )
    admin_listen: ListenAddress = Field(
        Address("", 9093), description="watch: host:port of /metrics, /livez, /readyz and /debug/findings"
    )

    @property
    def certs_root(self) -> Path:
        """The first folder of `registry_config_path`, to which the files are written."""
        return self._roots[0]

    @property
    def later_roots(self) -> tuple[Path, ...]:
        return self._roots[1:]

    @property
    def _roots(self) -> tuple[Path, ...]:
        return tuple(Path(root) for root in str(self.registry_config_path).split(":") if root) or (Path(),)

    @field_validator("mirror_targets", "additional_mirror_targets")
    @classmethod
    def _are_urls(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_url(target) for target in targets))

    @field_validator("mirrored_registries")
    @classmethod
    def _are_registries(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        try:
            unique(map(UpstreamRegistry.parse, entries))
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
    def registries(self) -> tuple[UpstreamRegistry, ...] | None:
        """The registries to mirror, None for all; those whose images are all filtered out are left out."""
        if not self.mirrored_registries:
            return None
        images = ImageFilter(excluded=self.registry_filters)
        named = unique(map(UpstreamRegistry.parse, self.mirrored_registries))
        return tuple(registry for registry in named if images.admits(registry.host, ""))


def _url(target: str) -> str:
    parts = urlsplit(target)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError(f"not a mirror: {target!r} (expected http[s]://host[:port])")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"not a mirror: {target!r} (user, query and fragment are not allowed)")
    return target.rstrip("/")
