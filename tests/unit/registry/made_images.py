"""Images of made-up content, and indexes of them."""

import json
from dataclasses import dataclass, field
from typing import Any

from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.image import CONFIG, INDEX, MANIFEST


@dataclass
class Made:
    """An image of one platform; `blobs` are its parts by name."""

    platform: str
    config_type: str = CONFIG
    layers: tuple[bytes, ...] = (b"one", b"two")
    blobs: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        os, _, architecture = self.platform.partition("/")
        config = json.dumps({"os": os, "architecture": architecture}).encode()
        layers = [f"{layer.decode()} of {self.platform}".encode() for layer in self.layers]
        self.blobs = {"config": config, **{f"layer-{n}": layer for n, layer in enumerate(layers, 1)}}
        self.manifest = manifest_json(
            MANIFEST,
            config=descriptor(config, self.config_type),
            layers=[descriptor(layer, "layer") for layer in layers],
        )
        self.blobs["manifest"] = self.manifest

    @property
    def digest(self) -> Digest:
        return digest_of(self.manifest)

    def without(self, *names: str) -> list[bytes]:
        return [data for name, data in self.blobs.items() if name not in names]


def index_of(*entries: tuple[str, bytes]) -> bytes:
    """Of platforms, each empty or `os/architecture[/variant]`, and the manifests for them."""
    return manifest_json(INDEX, manifests=[_entry(platform, data) for platform, data in entries])


def _entry(platform: str, data: bytes) -> dict[str, Any]:
    names = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
    return {**descriptor(data, MANIFEST), **({"platform": names} if platform else {})}


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def manifest_json(media_type: str, **fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, **fields}).encode()
