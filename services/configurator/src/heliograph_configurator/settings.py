"""What a configurator is told."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from heliograph_configurator.domain.registry import ConflictingRegistries, Registry, unique
from heliograph_shared.filters import ImageFilter
from heliograph_shared.settings import CommaList, MirroredRegistries, RegistryFilters, ServiceSettings


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
    resolve_tags: bool = Field(True, description="whether mirrors are asked for tags, not only for digests")
    prepend_existing: bool = Field(
        False, description="put mirrors before the hosts that a hosts.toml names already, and keep those"
    )
    registry_filters: RegistryFilters

    @field_validator("mirror_targets")
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
