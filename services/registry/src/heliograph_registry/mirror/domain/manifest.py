"""Manifests: verified bytes, their media type and the digests they list."""

from dataclasses import dataclass

from heliograph_shared.digest import Digest, algorithm_of, digest_of
from heliograph_shared.image import NotAManifest, children, media_type_of, parse_document


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
    document = parse_document(body)
    return Manifest(digest, media_type_of(document), body, children(document))
