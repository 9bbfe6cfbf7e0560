"""Reads image indexes and image manifests (image-spec v1.1). Pure: bytes in, values out.

There are two ways to read. `parse_manifest` is strict: one invalid descriptor makes the whole document
`NotAManifest`; use it to pull. `kind_of`, `platforms`, `content` and `children` work on the JSON object that
`parse_document` returns and skip invalid descriptors; use them to describe or serve a document that somebody
else wrote. Docker's manifest list and manifest (schema 2) have the same fields as OCI's and are read alike.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heliograph_shared.digest import Digest, InvalidDigest, WireDigest, parse_digest
from heliograph_shared.platforms import Entry, Matcher

MAX_MANIFEST_BYTES = 4 << 20
"""A registry must accept manifests up to this size (distribution-spec v1.1, "Pushing Manifests")."""

MAX_CONFIG_BYTES = 4 << 20
"""Of an image's config; real ones have some KiB."""

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
_IMAGE_CONFIGS = (CONFIG, "application/vnd.docker.container.image.v1+json")
MANIFEST_TYPES = (
    INDEX,
    MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""For the `Accept` header of a request for a manifest."""

_MAX_PARTS = 512
_MAX_CHILDREN = 1_000
_MAX_PLATFORM_NAME = 40

Document = Mapping[str, Any]
"""The JSON object of a manifest, not validated."""


class Kind(StrEnum):
    INDEX = "index"
    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"


class NotAManifest(ValueError):
    """The bytes are neither an image index nor an image manifest."""


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An index, manifest, config or layer of an image.

    `size_bytes` is what the parent document states, 0 where it states none; `platform` is
    `os/architecture[/variant]`, empty where it states none.
    """

    kind: Kind
    digest: Digest
    size_bytes: int
    platform: str = ""


class _Json(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", validate_by_name=True)


class StatedPlatform(_Json):
    """As a document states it, in any spelling. `str()` is `os/architecture[/variant]`."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        stated = f"{self.os}/{self.architecture}"
        return f"{stated}/{self.variant}" if self.variant else stated


class Descriptor(_Json):
    """Refers to content by digest (image-spec v1.1, descriptor.md)."""

    media_type: str = Field("", alias="mediaType")
    digest: WireDigest
    size_bytes: int = Field(alias="size", ge=0)
    platform: StatedPlatform | None = None
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
    def blobs(self) -> tuple[ImagePart, ...]:
        """Config and layers, each digest once, although a layer may be listed twice."""
        config = ImagePart(Kind.CONFIG, self.config.digest, self.config.size_bytes)
        layers = (ImagePart(Kind.LAYER, layer.digest, layer.size_bytes) for layer in self.layers)
        return _each_once([config, *layers])


def parse_manifest(body: bytes) -> ImageIndex | ImageManifest:
    """Validate every descriptor. Raises `NotAManifest`."""
    document = parse_document(body)
    model = ImageIndex if "manifests" in document else ImageManifest
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise NotAManifest(_first_reason(error)) from error


def parse_document(body: bytes) -> Document:
    """Raises `NotAManifest` when the bytes are not a JSON object; nothing else is checked."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAManifest("not JSON") from error
    if not isinstance(document, dict):
        raise NotAManifest("not a JSON object")
    return document


def media_type_of(document: Document) -> str:
    """The stated media type, else the one that the fields imply, since image-spec v1.1 makes it optional.

    Raises `NotAManifest` when the fields imply none.
    """
    stated = document.get("mediaType")
    if isinstance(stated, str) and stated.isascii() and stated.isprintable() and "/" in stated:
        return stated
    if kind_of(document) is Kind.INDEX:
        return INDEX
    if isinstance(document.get("config"), dict) and isinstance(document.get("layers"), list):
        return MANIFEST
    if document.get("schemaVersion") == 1 and isinstance(document.get("fsLayers"), list):
        return DOCKER_SCHEMA_1
    raise NotAManifest("neither an index nor an image manifest")


def kind_of(document: Document) -> Kind:
    return Kind.INDEX if isinstance(document.get("manifests"), list) else Kind.MANIFEST


def platforms(document: Document) -> tuple[ImagePart, ...]:
    """The manifests of an index, at most 512; none for any other document."""
    return tuple(_parts(Kind.MANIFEST, _items(document, "manifests")[:_MAX_PARTS]))


def content(document: Document) -> tuple[ImagePart, ...]:
    """Config and at most 512 layers of an image, each digest once; none for any other document."""
    config = _parts(Kind.CONFIG, [document.get("config")])
    layers = _parts(Kind.LAYER, _items(document, "layers")[:_MAX_PARTS])
    return _each_once([*config, *layers])


def image_config(document: Document) -> Digest | None:
    """The config of a container image; None for any other document. Configs of artifacts have other types."""
    config = document.get("config")
    return _digest(config) if isinstance(config, dict) and config.get("mediaType") in _IMAGE_CONFIGS else None


def platform_of_config(document: Document) -> str:
    """`os/architecture[/variant]` as an image's config states it."""
    return _platform(document)


def children(document: Document) -> tuple[Digest, ...]:
    """Digests of config, manifests and layers, each once, from the first 1,000 descriptors."""
    descriptors = [document.get("config"), *_items(document, "manifests"), *_items(document, "layers")]
    digests = map(_digest, descriptors[:_MAX_CHILDREN])
    return tuple(dict.fromkeys(digest for digest in digests if digest is not None))


def chosen(manifests: Iterable[Entry], node: Matcher) -> Entry | None:
    """The entry that the node takes, else the first one; None if there are none. To describe an image."""
    entries = list(manifests)
    return node.best(entries) or (entries[0] if entries else None)


def _first_reason(error: ValidationError) -> str:
    """In one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def _each_once(parts: Iterable[ImagePart]) -> tuple[ImagePart, ...]:
    found: dict[Digest, ImagePart] = {}
    for part in parts:
        found.setdefault(part.digest, part)
    return tuple(found.values())


def _items(document: Document, name: str) -> list[Any]:
    items = document.get(name)
    return items if isinstance(items, list) else []


def _parts(kind: Kind, descriptors: Iterable[Any]) -> Iterator[ImagePart]:
    """Skips what is not a descriptor."""
    for descriptor in descriptors:
        if (digest := _digest(descriptor)) is not None:
            size = descriptor.get("size")
            size_bytes = size if type(size) is int and 0 <= size < 1 << 63 else 0
            yield ImagePart(kind, digest, size_bytes, _platform(descriptor.get("platform")))


def _digest(descriptor: Any) -> Digest | None:
    """None for what is not a descriptor."""
    with suppress(InvalidDigest):
        return parse_digest(str(descriptor.get("digest"))) if isinstance(descriptor, dict) else None
    return None


def _platform(stated: Any) -> str:
    if not isinstance(stated, dict):
        return ""
    names = [str(stated.get(name, ""))[:_MAX_PLATFORM_NAME] for name in ("os", "architecture", "variant")]
    return "/".join(names if names[2] else names[:2])
