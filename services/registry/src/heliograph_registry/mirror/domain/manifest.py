"""Manifests: verified bytes, their media type and the digests they list."""

from dataclasses import dataclass

from heliograph_shared.digest import Digest, algorithm_of, digest_of
from heliograph_shared.image import (
    DOCKER_SCHEMA_1,
    ImagePart,
    Kind,
    NotAManifest,
    children,
    image_config,
    kind_of,
    media_type_of,
    parse_document,
    platform_of_config,
    platforms,
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """`children`: digests of an index's manifests, or of an image's config and layers.

    `index`: the manifests of an index with their platforms, None for an image. `image_config`: the config
    that states an image's platform; None for an index, and for artifacts, which have no platform.
    """

    digest: Digest
    media_type: str
    body: bytes
    children: tuple[Digest, ...]
    index: tuple[ImagePart, ...] | None = None
    image_config: Digest | None = None

    @property
    def lists_its_content(self) -> bool:
        """False for Docker's schema 1, whose layers are not among `children`."""
        return self.media_type != DOCKER_SCHEMA_1


def verified(digest: Digest, body: bytes) -> Manifest:
    """The manifest in `body`. Raises `NotAManifest` if the digest differs or the media type is unknown."""
    _check(digest, body)
    document = parse_document(body)
    return Manifest(
        digest,
        media_type_of(document),
        body,
        children(document),
        platforms(document) if kind_of(document) is Kind.INDEX else None,
        image_config(document),
    )


def verified_platform(digest: Digest, body: bytes) -> str:
    """The platform that an image's config states, `os/architecture[/variant]`. Raises `NotAManifest`."""
    _check(digest, body)
    return platform_of_config(parse_document(body))


def _check(digest: Digest, body: bytes) -> None:
    if digest_of(body, algorithm_of(digest)) != digest:
        raise NotAManifest("the bytes have another digest")
