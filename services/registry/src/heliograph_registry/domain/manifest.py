"""Manifests: verified bytes with the media type that they state themselves."""

import json
from dataclasses import dataclass

from heliograph_shared.digest import Digest, algorithm_of, digest_of

MAX_MANIFEST_BYTES = 4 << 20
"""The size that a registry must accept (distribution-spec v1.1, "Pushing Manifests"); larger is refused."""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


class NotAManifest(ValueError):
    """The bytes are not those of the digest, or not a manifest at all."""


@dataclass(frozen=True, slots=True)
class Manifest:
    digest: Digest
    media_type: str
    body: bytes


def verified(digest: Digest, body: bytes) -> Manifest:
    """Raises `NotAManifest` when the bytes have another digest or no media type can be told."""
    if digest_of(body, algorithm_of(digest)) != digest:
        raise NotAManifest("the bytes have another digest")
    return Manifest(digest, media_type_of(body), body)


def media_type_of(body: bytes) -> str:
    """What the body states, else what its fields show (image-spec v1.1: `mediaType` may be absent).

    Raises `NotAManifest`.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAManifest("not JSON") from error
    if not isinstance(document, dict):
        raise NotAManifest("not a JSON object")
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
