"""A sample image: valid OCI content that any runtime can unpack, made of bytes that do not compress.

It is the same on every run, so that a layout that is kept does not grow.
"""

import hashlib
import json
import random
import tarfile
from collections.abc import Iterator, Mapping

from heliograph_cli.layout import Layout
from heliograph_shared.digest import Digest
from heliograph_shared.image import CONFIG, INDEX, LAYER, MANIFEST, Descriptor
from heliograph_shared.platforms import this_platform

REFERENCE = "demo.heliograph.local/sample/app:1.0"

_KIB, _MIB = 1 << 10, 1 << 20
LAYER_SIZES = (1 * _KIB, 256 * _KIB, 4 * _MIB, 28 * _MIB, 32 * _MIB)
"""Size in bytes of the one file in each layer."""


def write_sample_image(layout: Layout) -> dict[str, Descriptor]:
    """Write it to `layout`; its reference points at an index with one platform."""
    layers = [_layer(layout, number, size) for number, size in enumerate(LAYER_SIZES)]
    here = this_platform()
    platform = {"os": here.os, "architecture": here.architecture}
    if here.variant:
        platform["variant"] = here.variant
    config = {
        **platform,
        "config": {"Labels": {"org.opencontainers.image.title": "a sample image of Heliograph"}},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }
    config_blob = layout.put(json.dumps(config).encode(), CONFIG)
    manifest = {"config": _json(config_blob), "layers": [_json(layer) for layer in layers]}
    manifest_blob = _put_json(layout, MANIFEST, manifest)
    target = _put_json(layout, INDEX, {"manifests": [{**_json(manifest_blob), "platform": platform}]})
    layout.tag(REFERENCE, target)
    return {REFERENCE: target}


def _layer(layout: Layout, number: int, size_bytes: int) -> Descriptor:
    """An uncompressed tar of one file, so that its digest is also its diff id."""
    digest, total = hashlib.sha256(), 0
    with layout.ingest() as draft:
        for piece in _tar(f"layer-{number}", size_bytes):
            digest.update(piece)
            draft.write(piece)
            total += len(piece)
        name = Digest(f"sha256:{digest.hexdigest()}")
        draft.commit(name)
    return Descriptor(media_type=LAYER, digest=name, size_bytes=total)


def _tar(name: str, size_bytes: int) -> Iterator[bytes]:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    yield member.tobuf()
    source = random.Random(name)  # noqa: S311 - the same bytes each time
    for begin in range(0, size_bytes, _MIB):
        yield source.randbytes(min(_MIB, size_bytes - begin))
    yield bytes(-size_bytes % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def _put_json(layout: Layout, media_type: str, fields: Mapping[str, object]) -> Descriptor:
    body = json.dumps({"schemaVersion": 2, "mediaType": media_type, **fields}).encode()
    return layout.put(body, media_type)


def _json(descriptor: Descriptor) -> dict[str, object]:
    return descriptor.model_dump(by_alias=True, exclude_none=True)
