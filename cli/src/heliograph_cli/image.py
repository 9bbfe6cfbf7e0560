"""What an image consists of: indexes, manifests, descriptors (image-spec v1.1). Pure: bytes in, values out.

Docker's manifest list and manifest (schema 2) have the same fields and are read alike.
"""

import json
import platform
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heliograph_shared.digest import WireDigest

MAX_MANIFEST_BYTES = 4 << 20
"""More than that no registry has to take (distribution-spec v1.1, "Pushing Manifests")."""

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST_TYPES = (
    INDEX,
    MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class Kind(StrEnum):
    INDEX = "index"
    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"


class NotAManifest(ValueError):
    """The bytes are neither an image index nor an image manifest."""


class _Json(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", validate_by_name=True)


class Platform(_Json):
    os: str = ""
    architecture: str = ""


class Descriptor(_Json):
    """Content by its digest (image-spec v1.1, descriptor.md)."""

    media_type: str = Field("", alias="mediaType")
    digest: WireDigest
    size_bytes: int = Field(alias="size", ge=0)
    platform: Platform | None = None
    annotations: dict[str, str] | None = None


class ImageIndex(_Json):
    media_type: str = Field(INDEX, alias="mediaType")
    manifests: Annotated[tuple[Descriptor, ...], Field(strict=False)]

    @property
    def kind(self) -> Kind:
        return Kind.INDEX


class ImageManifest(_Json):
    media_type: str = Field(MANIFEST, alias="mediaType")
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], Field(strict=False)]

    @property
    def kind(self) -> Kind:
        return Kind.MANIFEST

    @property
    def blobs(self) -> tuple[tuple[Descriptor, Kind], ...]:
        """Each once, though a layer may be in an image twice."""
        found = {self.config.digest: (self.config, Kind.CONFIG)}
        for layer in self.layers:
            found.setdefault(layer.digest, (layer, Kind.LAYER))
        return tuple(found.values())


def parse_manifest(body: bytes) -> ImageIndex | ImageManifest:
    """Raises `NotAManifest`."""
    try:
        fields = json.loads(body)
        if isinstance(fields, dict) and "manifests" in fields:
            return ImageIndex.model_validate(fields)
        return ImageManifest.model_validate(fields)
    except ValidationError as error:
        raise NotAManifest(reason_of(error)) from error
    except (ValueError, RecursionError) as error:
        raise NotAManifest("not JSON") from error


def own_architecture() -> str:
    """As Go and OCI name it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def choose(manifests: Sequence[Descriptor], architecture: str) -> Descriptor | None:
    """The one for Linux on `architecture`, else the first; None of none."""
    wanted = Platform(os="linux", architecture=architecture)
    return next((entry for entry in manifests if entry.platform == wanted), next(iter(manifests), None))


def reason_of(error: ValidationError) -> str:
    """The first thing that is wrong, in a line."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
