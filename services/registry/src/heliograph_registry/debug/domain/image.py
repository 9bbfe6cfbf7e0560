"""What an image consists of (image-spec v1.1): parts with their sizes, and the choice of a platform. Pure."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from heliograph_registry.mirror.domain.manifest import Manifest
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest

_MOST_PARTS = 512


class Kind(StrEnum):
    INDEX = "index"
    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"


@dataclass(frozen=True, slots=True)
class Part:
    """`size_bytes` is what the parent says, 0 where it says nothing; `platform` is `os/architecture`."""

    kind: Kind
    digest: Digest
    size_bytes: int
    platform: str = ""


def kind_of(manifest: Manifest) -> Kind:
    return Kind.INDEX if isinstance(_fields(manifest).get("manifests"), list) else Kind.MANIFEST


def platforms(manifest: Manifest) -> tuple[Part, ...]:
    """The manifests of an index, at most 512; none for anything else."""
    return tuple(_parts(Kind.MANIFEST, _listed(_fields(manifest), "manifests")))


def chosen(manifests: Iterable[Part], architecture: str) -> Part | None:
    """The one for Linux on `architecture` as OCI names it, else the first; None of none."""
    among = list(manifests)
    wanted = f"linux/{architecture}"
    return next((part for part in among if part.platform == wanted), among[0] if among else None)


def content(manifest: Manifest) -> tuple[Part, ...]:
    """Config and layers of an image, each once, at most 512; none for anything else."""
    fields = _fields(manifest)
    config = _parts(Kind.CONFIG, [fields.get("config")])
    layers = _parts(Kind.LAYER, _listed(fields, "layers"))
    found: dict[Digest, Part] = {}
    for part in (*config, *layers):
        found.setdefault(part.digest, part)
    return tuple(found.values())


def _fields(manifest: Manifest) -> dict[str, Any]:
    fields = json.loads(manifest.body)
    assert isinstance(fields, dict)  # or it would not have been verified
    return fields


def _listed(fields: dict[str, Any], name: str) -> list[Any]:
    listed = fields.get(name)
    return listed[:_MOST_PARTS] if isinstance(listed, list) else []


def _parts(kind: Kind, descriptors: Iterable[Any]) -> Iterator[Part]:
    """What is no descriptor is left out."""
    for descriptor in descriptors:
        if not isinstance(descriptor, dict):
            continue
        with suppress(InvalidDigest):
            digest = parse_digest(str(descriptor.get("digest")))
            size = descriptor.get("size")
            known = size if type(size) is int and 0 <= size < 1 << 63 else 0
            yield Part(kind, digest, known, _platform(descriptor.get("platform")))


def _platform(stated: Any) -> str:
    if not isinstance(stated, dict):
        return ""
    return f"{str(stated.get('os', ''))[:40]}/{str(stated.get('architecture', ''))[:40]}"
