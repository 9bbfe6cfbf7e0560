"""Whether the layers of images are there, told by containerd's labels without reading a manifest. Pure.

While it pulls, containerd labels an index with its manifests (`gc.ref.content.m.N`), and a manifest with its
config (`gc.ref.content.config`) and its layers (`gc.ref.content.l.N`, or a number alone where the media type
is not a layer's); with `discard_unpacked_layers` it leaves the layers' labels out (images/handlers.go).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from heliograph_indexer.domain.checks import Check
from heliograph_shared.findings import Finding

REFERS = "containerd.io/gc.ref.content."
_SHOWN = 3
_SHORT = len("sha256:") + 12

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Image:
    """A name in containerd's store, and the digest that it points at."""

    name: str
    target: str
    updated_at_ms: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One that is here: an image by which it was found, what that points at, and the layers that it needs.

    `refers` is whether its labels name them; where they do not, `layers` is empty until it was read.
    """

    image: str
    target: str
    digest: str
    layers: tuple[str, ...]
    refers: bool


def manifests(images: Sequence[Image], blobs: Mapping[str, Labels]) -> list[Manifest]:
    """Those that are here, each once, of the image that was updated last first.

    `blobs` are all digests of the store with their labels.
    """
    found, names = dict[str, Manifest](), _names(images)
    for image in sorted(images, key=lambda one: -one.updated_at_ms):
        for digest in _platforms(image.target, blobs):
            labels = blobs[digest]
            if digest not in found and f"{REFERS}config" in labels:
                layers = tuple(value for key, value in sorted(labels.items()) if _names_a_layer(key))
                name = names[image.target]
                found[digest] = Manifest(name, image.target, digest, layers, refers=bool(layers))
    return list(found.values())


def of_this_platform(found: Sequence[Manifest], blobs: Mapping[str, Labels]) -> list[Manifest]:
    """Without those of other platforms, which containerd 2 fetches too, but not their layers.

    Told by what is here: of an index's manifests those count that have a layer here, or all if none has.
    """
    held = {one.target for one in found if _has_some(one, blobs)}
    return [one for one in found if one.target not in held or _has_some(one, blobs)]


def lacking(found: Sequence[Manifest], blobs: Mapping[str, Labels]) -> list[tuple[Manifest, list[str]]]:
    """Those with layers that are not here, and these."""
    missing = ((one, [layer for layer in one.layers if layer not in blobs]) for one in found)
    return [(one, layers) for one, layers in missing if layers]


def examine(incomplete: Sequence[tuple[Manifest, list[str]]], namespace: str) -> Iterator[Finding]:
    """One finding for them all."""
    if not incomplete:
        return
    shown = "; ".join(
        f"{one.image} lacks {', '.join(layer[:_SHORT] for layer in layers[:_SHOWN])}"
        + (f" and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else "")
        for one, layers in incomplete[:_SHOWN]
    )
    images = f"{len(incomplete)} images" if len(incomplete) > 1 else "an image"
    yield Finding(
        Check.LAYERS,
        "warning",
        f"layers of {images} are missing although the manifest is there: this node cannot pass them on",
        f"not in containerd's content store: {shown}",
        f"ctr --namespace {namespace} content fetch {incomplete[0][0].image}",
    )


def _has_some(manifest: Manifest, blobs: Mapping[str, Labels]) -> bool:
    return any(layer in blobs for layer in manifest.layers)


def _names(images: Sequence[Image]) -> dict[str, str]:
    """The best name of each target: a tag, else one by digest, else its id."""
    last_is_best = sorted(images, key=lambda one: (not one.name.startswith("sha256:"), "@" not in one.name))
    return {image.target: image.name for image in last_is_best}


def _platforms(target: str, blobs: Mapping[str, Labels]) -> Iterator[str]:
    """The manifests that are here, of an index or alone. Indexes in indexes are not followed."""
    if target not in blobs:
        return
    children = [value for key, value in blobs[target].items() if key.startswith(f"{REFERS}m.")]
    yield from (child for child in children if child in blobs)
    if not children:
        yield target


def _names_a_layer(label: str) -> bool:
    rest = label.removeprefix(REFERS)
    return rest != label and rest != "config" and not rest.startswith("m.")
