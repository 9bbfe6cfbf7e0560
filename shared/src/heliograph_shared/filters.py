"""Decides by the operator's settings which registries and images are mirrored."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from heliograph_shared.reference import canonical_registry, is_registry


class InvalidFilter(ValueError):
    """A registry or a regular expression in the settings cannot be used."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The setting that excludes an image; `entry` is the expression, or the registry that is not listed."""

    setting: str
    entry: str


class ImageFilter:
    """Admits an image when its registry is mirrored and no exclusion matches `registry/repository[:tag]`.

    Capitals make no difference in either: an image has the same name under `GHCR.io` and `ghcr.io`.
    """

    def __init__(self, mirrored: Iterable[str] = (), excluded: Iterable[str] = ()) -> None:
        """Raises `InvalidFilter`, naming the offending entry."""
        self._mirrored = frozenset(registry_of(entry) for entry in mirrored)
        self._excluded = [_compile(pattern) for pattern in excluded]

    def admits(self, registry: str, repository: str, tag: str | None = None) -> bool:
        return self.exclusion(registry, repository, tag) is None

    def exclusion(self, registry: str, repository: str, tag: str | None = None) -> Exclusion | None:
        """The setting that excludes an image, None if it is mirrored."""
        registry = canonical_registry(registry)
        if self._mirrored and registry not in self._mirrored:
            return Exclusion("HELIOGRAPH_MIRRORED_REGISTRIES", registry)
        name = f"{registry}/{repository}:{tag}" if tag else f"{registry}/{repository}"
        for pattern in self._excluded:
            if pattern.search(name):
                return Exclusion("HELIOGRAPH_REGISTRY_FILTERS", pattern.pattern)
        return None


def registry_of(entry: str) -> str:
    """The canonical `host[:port]` of a mirrored-registries entry or URL. Raises `InvalidFilter`."""
    return canonical_registry(written_registry(entry))


def written_registry(entry: str) -> str:
    """`host[:port]` of a mirrored-registries entry in the operator's own spelling. Raises `InvalidFilter`."""
    text = entry if "://" in entry else f"//{entry}"
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise InvalidFilter(f"not a registry: {entry!r}") from error
    registry = parts.netloc
    more = parts.path not in {"", "/"} or parts.query or parts.fragment
    if parts.scheme not in {"", "http", "https"} or more or not is_registry(registry):
        raise InvalidFilter(f"not a registry: {entry!r} (wanted host[:port] or http[s]://host[:port])")
    return registry


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise InvalidFilter(f"not a regular expression: {pattern!r} ({error})") from error
