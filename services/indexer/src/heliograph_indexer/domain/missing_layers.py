"""Finds images whose layers are missing, from containerd's labels and mostly without reading manifests. Pure.

While pulling, containerd labels an index with its manifests (`gc.ref.content.m.N`), and a manifest with its
config (`gc.ref.content.config`) and its layers (`gc.ref.content.l.N`, or only a number if the media type is
not a layer's). With `discard_unpacked_layers` it omits the layers' labels (images/handlers.go).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from heliograph_indexer.domain.checks import IndexerCheck
from heliograph_shared.findings import Finding

REFERENCE_PREFIX = "containerd.io/gc.ref.content."
_MAX_SHOWN = 3
_SHORT_DIGEST = len("sha256:") + 12

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A name in containerd's image store, and the digest that it points at."""

    name: str
    target: str
    updated_at_ms: int


@dataclass(frozen=True, slots=True)
class HeldManifest:
    """A manifest in the content store, with the layers that it needs.

    `image` is a name that led to it, `target` the digest of that name. `has_layer_labels` is whether its
    labels name the layers; if not, `layers` is empty until the manifest has been read.
    """

    image: str
    target: str
    digest: str
    layers: tuple[str, ...]
    has_layer_labels: bool


def held_manifests(images: Sequence[ImageRecord], blobs: Mapping[str, Labels]) -> list[HeldManifest]:
    """The manifests in the store, each once, those of the most recently updated image first.

    `blobs` are all digests of the store with their labels.
    """
    held, names = dict[str, HeldManifest](), _best_names(images)
    for image in sorted(images, key=lambda one: -one.updated_at_ms):
        for digest in _manifest_digests(image.target, blobs):
            labels = blobs[digest]
            if digest not in held and f"{REFERENCE_PREFIX}config" in labels:
                layers = tuple(value for key, value in sorted(labels.items()) if _refers_to_layer(key))
                name = names[image.target]
                held[digest] = HeldManifest(name, image.target, digest, layers, bool(layers))
    return list(held.values())


def of_this_platform(held: Sequence[HeldManifest], blobs: Mapping[str, Labels]) -> list[HeldManifest]:
    """Without other platforms' manifests: containerd 2 fetches those too, but not their layers.

    Of an index's manifests, those with at least one layer in the store are kept, or all if none has one.
    """
    targets = {one.target for one in held if _has_any_layer(one, blobs)}
    return [one for one in held if one.target not in targets or _has_any_layer(one, blobs)]


def incomplete_manifests(
    held: Sequence[HeldManifest], blobs: Mapping[str, Labels]
) -> list[tuple[HeldManifest, list[str]]]:
    """Manifests with layers that are not in the store, and those layers."""
    missing = ((one, [layer for layer in one.layers if layer not in blobs]) for one in held)
    return [(one, layers) for one, layers in missing if layers]


def examine_layers(incomplete: Sequence[tuple[HeldManifest, list[str]]], namespace: str) -> Iterator[Finding]:
    """One finding for all of them."""
    if not incomplete:
        return
    shown = "; ".join(
        f"{one.image} lacks {', '.join(layer[:_SHORT_DIGEST] for layer in layers[:_MAX_SHOWN])}"
        + (f" and {len(layers) - _MAX_SHOWN} more" if len(layers) > _MAX_SHOWN else "")
        for one, layers in incomplete[:_MAX_SHOWN]
    )
    images = f"{len(incomplete)} images" if len(incomplete) > 1 else "an image"
    yield Finding(
        IndexerCheck.LAYERS,
        "warning",
        f"layers of {images} are missing although the manifest is there, so this node cannot serve them",
        f"not in containerd's content store: {shown}",
        f"ctr --namespace {namespace} content fetch {incomplete[0][0].image}",
    )


def _has_any_layer(manifest: HeldManifest, blobs: Mapping[str, Labels]) -> bool:
    return any(layer in blobs for layer in manifest.layers)


def _best_names(images: Sequence[ImageRecord]) -> dict[str, str]:
    """The name to show for each target: a tag, else a name by digest, else the image's ID."""
    best_last = sorted(images, key=lambda one: (not one.name.startswith("sha256:"), "@" not in one.name))
    return {image.target: image.name for image in best_last}


def _manifest_digests(target: str, blobs: Mapping[str, Labels]) -> Iterator[str]:
    """An index's manifests in the store, or the target itself. Nested indexes are not followed."""
    if target not in blobs:
        return
    children = [value for key, value in blobs[target].items() if key.startswith(f"{REFERENCE_PREFIX}m.")]
    yield from (child for child in children if child in blobs)
    if not children:
        yield target


def _refers_to_layer(label: str) -> bool:
    rest = label.removeprefix(REFERENCE_PREFIX)
    return rest != label and rest != "config" and not rest.startswith("m.")
