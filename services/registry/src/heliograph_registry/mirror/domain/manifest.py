"""Manifests: verified bytes, their media type and the digests they list."""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from heliograph_shared.digest import Digest, InvalidDigest, algorithm_of, digest_of, parse_digest

MAX_MANIFEST_BYTES = 4 << 20
"""A registry must accept manifests up to this size (distribution-spec v1.1, "Pushing Manifests"); ours serves
no larger ones."""

_MOST_CHILDREN = 1_000

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


class NotAManifest(ValueError):
    """The bytes have another digest, or are no manifest."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`children`: digests of an index's manifests, or of an image's config and layers."""

    digest: Digest
    media_type: str
    body: bytes
    children: tuple[Digest, ...]


def verified(digest: Digest, body: bytes) -> Manifest:
    """The manifest in `body`. Raises `NotAManifest` if the digest differs or the media type is unknown."""
    if digest_of(body, algorithm_of(digest)) != digest:
        raise NotAManifest("the bytes have another digest")
    document = _parsed(body)
    return Manifest(digest, _media_type(document), body, _children(document))


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAManifest("not JSON") from error
    if not isinstance(document, dict):
        raise NotAManifest("not a JSON object")
    return document


def _children(document: dict[str, Any]) -> tuple[Digest, ...]:
    """Digests of the first 1,000 descriptors, each once; invalid ones are left out."""
    lists = (document.get(name) for name in ("manifests", "layers"))
    listed = [descriptor for each in lists if isinstance(each, list) for descriptor in each]
    digests: dict[Digest, None] = {}
    for descriptor in [document.get("config"), *listed][:_MOST_CHILDREN]:
        with suppress(InvalidDigest):
            stated = descriptor.get("digest") if isinstance(descriptor, dict) else None
            digests[parse_digest(str(stated))] = None
    return tuple(digests)


def _media_type(document: dict[str, Any]) -> str:
    """The stated media type, else one that the fields show (image-spec v1.1: `mediaType` may be absent)."""
    stated = document.get("mediaType")
    if isinstance(stated, str) and stated.isascii() and stated.isprintable() and "/" in stated:
        return stated
    if isinstance(document.get("manifests"), list):
        return OCI_INDEX
    if isinstance(document.get("config"), dict) and isinstance(document.get("layers"), list):
        return OCI_MANIFEST
    if document.get("schemaVersion") == 1 and isinstance(document.get("fsLayers"), list):
        return DOCKER_SCHEMA_1
    raise NotAManifest("neither an index nor an image manifest")
