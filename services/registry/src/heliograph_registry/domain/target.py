"""What a request's path names, by the OCI distribution spec v1.1 (end-1, end-2, end-3)."""

from dataclasses import dataclass

from heliograph_shared.digest import Digest, InvalidDigest, parse_digest
from heliograph_shared.filters import InvalidFilter, registry_of
from heliograph_shared.reference import is_repository, is_tag, names_a_registry


@dataclass(frozen=True, slots=True)
class Ping:
    """`/v2/`, the question whether this is a registry."""


@dataclass(frozen=True, slots=True)
class Name:
    """A repository, of a registry where the request tells which."""

    registry: str | None
    repository: str


@dataclass(frozen=True, slots=True)
class ManifestByTag:
    name: Name
    tag: str

    @property
    def tag_reference(self) -> str | None:
        """The key of the tag, None where the registry is not known."""
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
    """`status` and `code` are what the spec answers (distribution-spec v1.1, error codes)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def parse_target(path: str, namespace: str | None) -> Target:
    """`path` is percent-decoded; `namespace` is the `ns` parameter by which containerd names the registry.

    Without it a first component that looks like a host names the registry, as CRI-O, Podman and skopeo
    address a mirror. Raises `InvalidTarget`.
    """
    if path in {"/v2", "/v2/"}:
        return Ping()
    parts = path.split("/")
    if len(parts) < 5 or parts[:2] != ["", "v2"] or parts[-2] not in {"manifests", "blobs"}:
        raise InvalidTarget(404, "UNSUPPORTED", "only /v2/, manifests and blobs are served here")
    name = _name(parts[2:-2], namespace)
    if parts[-2] == "manifests" and ":" not in parts[-1]:
        if not is_tag(parts[-1]):
            raise InvalidTarget(404, "MANIFEST_UNKNOWN", "not a tag")
        return ManifestByTag(name, parts[-1])
    try:
        digest = parse_digest(parts[-1])
    except InvalidDigest as error:
        raise InvalidTarget(400, "DIGEST_INVALID", "not a digest") from error
    return ManifestByDigest(name, digest) if parts[-2] == "manifests" else Blob(name, digest)


def _name(components: list[str], namespace: str | None) -> Name:
    registry = None
    if namespace is not None:
        registry = namespace
    elif len(components) > 1 and names_a_registry(components[0]):
        registry, *components = components
    repository = "/".join(components)
    if not is_repository(repository):
        raise InvalidTarget(400, "NAME_INVALID", "not a repository name")
    try:
        return Name(registry_of(registry) if registry is not None else None, repository)
    except InvalidFilter as error:
        raise InvalidTarget(400, "NAME_INVALID", "ns is not a registry") from error
