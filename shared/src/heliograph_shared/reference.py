"""Parses image references; on the wire a tag is always spelled `registry/repository:tag`.

The grammar is that of the distribution reference (distribution-spec v1.1 "Pulling manifests" for repository
and tag); a name without a registry means Docker Hub, as in every container runtime.
"""

import re
from dataclasses import dataclass

from heliograph_shared.digest import Digest, InvalidDigest, parse_digest

DOCKER_HUB = "docker.io"
_DOCKER_HUB_HOSTS = frozenset({"index.docker.io", "registry-1.docker.io"})

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_repository = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z").match
_tag = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z").match
_registry = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?\Z"
).match
_MAX_LENGTH = len("/:@sha512:") + 255 + 255 + 128 + 128


class InvalidReference(ValueError):
    """The text is not an image reference."""

    def __init__(self, text: str) -> None:
        super().__init__(f"not an image reference: {text[:120]!r}")
        self.text = text


@dataclass(frozen=True, slots=True)
class Reference:
    """An image by name: `tag`, `digest`, or both (then the digest decides)."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def tag_reference(self) -> str | None:
        """`registry/repository:tag`, the key of a tag on the bus and in the resolver; None without a tag."""
        return f"{self.registry}/{self.repository}:{self.tag}" if self.tag else None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def is_repository(text: str) -> bool:
    return len(text) <= 255 and _repository(text) is not None


def is_tag(text: str) -> bool:
    return _tag(text) is not None


def is_registry(text: str) -> bool:
    """Whether it is `host` or `host:port`, with no scheme and no path."""
    return len(text) <= 255 and _registry(text) is not None


def canonical_registry(registry: str) -> str:
    """The one spelling of a registry: host names have no case (RFC 4343), and Docker Hub has three names."""
    lowered = registry.lower()
    return DOCKER_HUB if lowered in _DOCKER_HUB_HOSTS else lowered


def registry_has_capitals(name: str) -> bool:
    """Whether the part of an image's name before the first slash is written with capitals."""
    registry = name.partition("/")[0]
    return registry != registry.lower()


def names_a_registry(component: str) -> bool:
    """True if the first path component is the host of a registry, not a part of the repository."""
    return "." in component or ":" in component or component.lower() == "localhost"


def parse_reference(text: str) -> Reference:
    """Parse what people type, filling in Docker Hub, `library/` and `latest`. Raises `InvalidReference`.

    Capitals in the registry's name become small letters.
    """
    if len(text) > _MAX_LENGTH:
        raise InvalidReference(text)
    name, at, digest_text = text.partition("@")
    head, slash, rest = name.partition("/")
    registry, path = (head, rest) if slash and names_a_registry(head) else (DOCKER_HUB, name)
    repository, colon, tag = path.partition(":")
    registry = canonical_registry(registry)
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    try:
        digest = parse_digest(digest_text) if at else None
    except InvalidDigest as error:
        raise InvalidReference(text) from error
    if not colon and not at:
        tag, colon = "latest", ":"
    if not is_registry(registry) or not is_repository(repository) or (colon and not is_tag(tag)):
        raise InvalidReference(text)
    return Reference(registry, repository, tag or None, digest)


def parse_tag_reference(text: str) -> Reference:
    """Parse the spelling of the wire, which always has registry and tag. Raises `InvalidReference`.

    Its registry may have capitals, as containerd's image names and older clients' requests do.
    """
    reference = parse_reference(text)
    registry, slash, rest = text.partition("/")
    if reference.digest is not None or str(reference) != f"{registry.lower()}{slash}{rest}":
        raise InvalidReference(text)
    return reference
