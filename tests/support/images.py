"""OCI images made up for the tests: seeded, incompressible, and good enough to be unpacked.

Everything is written once to a blob folder in the shape of an OCI layout; nothing is held in memory.
"""

import asyncio
import hashlib
import json
import os
import platform
import random
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), "amd64")
OTHER_ARCHITECTURE = "amd64" if ARCHITECTURE == "arm64" else "arm64"

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """Content by digest. `path` holds its bytes."""

    digest: str
    media_type: str
    size_bytes: int
    path: Path

    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size_bytes}


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `manifest`, `config` and `layers` are this machine's platform.

    `target` is what a tag points at: the index if there is one, else the manifest. `others` are the
    manifest, config and layer of the second platform, which a pull here must not fetch.
    """

    target: Blob
    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]
    others: tuple[Blob, ...] = ()

    def pulled(self) -> tuple[Blob, ...]:
        """What a node holds after a pull by tag, in the order in which it is asked for."""
        manifests = dict.fromkeys((self.target, self.manifest))
        return (*manifests, self.config, *self.layers)

    def blobs(self) -> tuple[Blob, ...]:
        """Everything, children before parents."""
        parents = dict.fromkeys((self.manifest, self.target))
        return (self.config, *self.layers, *reversed(self.others), *parents)


def make_image(
    directory: Path,
    layer_sizes: Sequence[int],
    *,
    seed: int = 0,
    compress: bool = True,
    index: bool = False,
) -> Image:
    """Write an image below `directory` and return it.

    `layer_sizes` are the bytes of the one file in each layer. Images of different seeds share no
    layer. `compress` wraps layers in gzip; `index` puts an index with a second platform on top.
    """
    folder = directory / "blobs" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    manifest, config, layers = _platform(folder, ARCHITECTURE, layer_sizes, seed, compress=compress)
    if not index:
        return Image(manifest, manifest, config, layers)
    other = _platform(folder, OTHER_ARCHITECTURE, [1000], seed, compress=compress)
    entries = [
        {**entry.descriptor(), "platform": {"os": "linux", "architecture": architecture}}
        for entry, architecture in ((other[0], OTHER_ARCHITECTURE), (manifest, ARCHITECTURE))
    ]
    target = _json(folder, INDEX, {"manifests": entries})
    return Image(target, manifest, config, layers, (other[0], other[1], *other[2]))


def write_layout(image: Image, directory: Path, reference: str) -> None:
    """Add `image` to the OCI layout in `directory` under `reference`, replacing that name.

    Both annotations are set that tools read: containerd's full name, and the spec's tag.
    """
    folder = directory / "blobs" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    for blob in image.blobs():
        if not (folder / blob.path.name).exists():
            os.link(blob.path, folder / blob.path.name)
    names = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    index = directory / "index.json"
    present = json.loads(index.read_bytes())["manifests"] if index.exists() else []
    entries = [entry for entry in present if entry.get("annotations") != names]
    entries.append({**image.target.descriptor(), "annotations": names})
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    draft = directory / "index.json.draft"
    draft.write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
    draft.replace(index)


async def push(image: Image, registry_url: str, repository: str, tag: str) -> None:
    """Upload `image` to a registry, skipping the blobs it has.

    OCI distribution 1.1, "Pushing a blob monolithically" and "Pushing manifests".
    """
    await asyncio.to_thread(_push, image, f"{registry_url}/v2/{repository}", tag)


def _push(image: Image, base: str, tag: str) -> None:
    with httpx.Client(trust_env=False, timeout=60) as client:
        for blob in image.blobs():
            if blob.media_type in (MANIFEST, INDEX):
                name = tag if blob == image.target else blob.digest
                headers = {"Content-Type": blob.media_type}
                address = f"{base}/manifests/{name}"
                client.put(address, content=blob.path.read_bytes(), headers=headers).raise_for_status()
            elif client.head(f"{base}/blobs/{blob.digest}").status_code != httpx.codes.OK:
                begun = client.post(f"{base}/blobs/uploads/").raise_for_status()
                place = begun.url.join(begun.headers["Location"])
                with blob.path.open("rb") as body:
                    client.put(
                        place.copy_merge_params({"digest": blob.digest}),
                        content=body,
                        headers={"Content-Length": str(blob.size_bytes)},
                    ).raise_for_status()


def _platform(
    folder: Path, architecture: str, layer_sizes: Sequence[int], seed: int, *, compress: bool
) -> tuple[Blob, Blob, tuple[Blob, ...]]:
    made = [
        _layer(folder, f"{architecture}-{seed}-{number}", size, compress=compress)
        for number, size in enumerate(layer_sizes)
    ]
    config = _json(
        folder,
        CONFIG,
        {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]},
        },
    )
    layers = tuple(blob for blob, _ in made)
    manifest = _json(
        folder,
        MANIFEST,
        {
            "config": config.descriptor(),
            "layers": [layer.descriptor() for layer in layers],
        },
    )
    return manifest, config, layers


def _json(folder: Path, media_type: str, fields: Mapping[str, Any]) -> Blob:
    schema = {} if media_type == CONFIG else {"schemaVersion": 2, "mediaType": media_type}
    body = json.dumps({**schema, **fields}).encode()
    digest = hashlib.sha256(body).hexdigest()
    path = folder / digest
    path.write_bytes(body)
    return Blob(f"sha256:{digest}", media_type, len(body), path)


def _layer(folder: Path, name: str, size_bytes: int, *, compress: bool) -> tuple[Blob, str]:
    """Write one layer; the second value is its diff id, the digest before compression."""
    plain, packed, total = hashlib.sha256(), hashlib.sha256(), 0
    gzip = zlib.compressobj(0, zlib.DEFLATED, 31)  # stored, with a gzip header: fast
    draft = folder / f"{name}.draft"
    with draft.open("wb") as file:

        def put(data: bytes) -> None:
            nonlocal total
            packed.update(data)
            total += file.write(data)

        for chunk in _tar(name, size_bytes):
            plain.update(chunk)
            put(gzip.compress(chunk) if compress else chunk)
        if compress:
            put(gzip.flush())
    path = draft.replace(folder / packed.hexdigest())
    media_type = f"{LAYER}+gzip" if compress else LAYER
    return Blob(f"sha256:{path.name}", media_type, total, path), f"sha256:{plain.hexdigest()}"


def _tar(name: str, size_bytes: int) -> Iterator[bytes]:
    """Stream a tar of one file of random bytes that depend on the name alone."""
    header = tarfile.TarInfo(f"layer-{name}")
    header.size = size_bytes
    yield header.tobuf()
    source = random.Random(name)
    for start in range(0, size_bytes, CHUNK_BYTES):
        yield source.randbytes(min(CHUNK_BYTES, size_bytes - start))
    yield bytes(-size_bytes % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)
