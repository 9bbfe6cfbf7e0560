"""What a request asks for, from its path (OCI distribution spec v1.1: end-1, end-2, end-3)."""

from dataclasses import dataclass, field
from typing import Literal

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest
from heliograph_shared.filters import InvalidFilter, registry_of
from heliograph_shared.reference import is_repository, is_tag, names_a_registry


@dataclass(frozen=True, slots=True)
class Ping:
    """`/v2/`, by which a client checks that this is a registry."""


@dataclass(frozen=True, slots=True)
class Name:
    """A repository; `registry` is None if the request does not name one.

    `in_path` if the request's path begins with the registry. Clients that address a mirror that way take all
    of an image from the host that answered their first request; containerd chooses a host for each request.
    """

    registry: str | None
    repository: str
    in_path: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class ManifestByTag:
    name: Name
    tag: str

    @property
    def tag_reference(self) -> str | None:
        """`registry/repository:tag`; None if the registry is unknown."""
        return f"{self.name.registry}/{self.name.repository}:{self.tag}" if self.name.registry else None


@dataclass(frozen=True, slots=True)
class ManifestByDigest:
    name: Name
    digest: Digest


@dataclass(frozen=True, slots=True)
class Blob:
    name: Name
    digest: Digest


Target = Ping | ManifestByTag | ManifestByDigest | Blob


class InvalidTarget(ValueError):
    """The request is answered with `status` and `code` (distribution-spec v1.1, "Error Codes")."""

    def __init__(
        self, status: int, code: str, message: str, reason: Literal[Reason.INVALID, Reason.UNSUPPORTED]
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.reason = status, code, message, reason


def unsupported() -> InvalidTarget:
    """The error for a path that names no manifest and no blob, such as that of a list of tags."""
    message = "only /v2/, manifests and blobs are served"
    return InvalidTarget(404, "UNSUPPORTED", message, Reason.UNSUPPORTED)


def parse_target(path: str, namespace: str | None) -> Target:
    """`path` is percent-decoded; `namespace` is the `ns` parameter, by which containerd names the registry.

    Raises `InvalidTarget`.
    """
    segments = path.split("/")
    if segments[1:2] != ["v2"] and segments[2:3] == ["v2"]:
        namespace = registry_before(segments.pop(1), namespace)
    if segments in (["", "v2"], ["", "v2", ""]):
        return Ping()
    if len(segments) < 5 or segments[:2] != ["", "v2"] or segments[-2] not in {"manifests", "blobs"}:
        raise unsupported()
    name, reference = "/".join(segments[2:-2]), segments[-1]
    if segments[-2] == "manifests":
        return manifest_target(name, reference, namespace)
    return blob_target(name, reference, namespace)


def registry_before(component: str, namespace: str | None) -> str:
    """The registry of a request for `/<component>/v2/...`, as Docker addresses a mirror with a path.

    `namespace` goes before `component`. Raises `InvalidTarget`.
    """
    if not names_a_registry(component):
        raise unsupported()
    return component if namespace is None else namespace


def manifest_target(name: str, reference: str, namespace: str | None) -> ManifestByTag | ManifestByDigest:
    """`reference` is a tag or a digest. See `parse_target`."""
    named = _name(name, namespace)
    if ":" in reference:
        return ManifestByDigest(named, _digest(reference))
    if not is_tag(reference):
        raise InvalidTarget(404, "MANIFEST_UNKNOWN", "not a tag", Reason.INVALID)
    return ManifestByTag(named, reference)


def blob_target(name: str, digest: str, namespace: str | None) -> Blob:
    """See `parse_target`."""
    return Blob(_name(name, namespace), _digest(digest))


def _digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidDigest as error:
        raise InvalidTarget(400, "DIGEST_INVALID", "not a digest", Reason.INVALID) from error


def _name(text: str, namespace: str | None) -> Name:
    """Without `namespace`, a first path component that looks like a host is the registry.

    CRI-O, Podman and skopeo address a mirror that way.
    """
    registry, components = namespace, text.split("/")
    if registry is None and len(components) > 1 and names_a_registry(components[0]):
        registry, *components = components
    repository = "/".join(components)
    if not is_repository(repository):
        raise InvalidTarget(400, "NAME_INVALID", "not a repository name", Reason.INVALID)
    try:
        if registry is None:
            return Name(None, repository)
        return Name(registry_of(registry), repository, in_path=namespace is None)
    except InvalidFilter as error:
        raise InvalidTarget(400, "NAME_INVALID", "not a registry", Reason.INVALID) from error
