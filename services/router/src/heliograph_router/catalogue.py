"""Lists the tags of the whole cluster for people. The search yields to other calls every 5,000 tags."""

import asyncio
from dataclasses import dataclass

from heliograph_router.domain.index import Index
from heliograph_shared.digest import Digest

_BATCH = 5_000
MAX_TAGS, DEFAULT_TAGS = 1_000, 100


@dataclass(frozen=True, slots=True)
class TaggedImage:
    """`digest` is what the tag points at; `nodes` is how many nodes have the tag."""

    reference: str
    digest: Digest
    nodes: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The first matching tags, sorted by reference; `found` counts all that match."""

    tags: tuple[TaggedImage, ...]
    found: int


async def list_tags(index: Index, containing: str, most: int) -> Listing:
    """At most `most` tags whose reference contains the text."""
    references = index.references()
    matching: list[str] = []
    for begin in range(0, len(references), _BATCH):
        batch = references[begin : begin + _BATCH]
        matching += [reference for reference in batch if containing in reference]
        await asyncio.sleep(0)
    matching.sort()
    tags = []
    for reference in matching[:most]:
        digest = index.digest_of(reference)
        if digest is not None:
            tags.append(TaggedImage(reference, digest, index.tagged_on(reference)))
    return Listing(tuple(tags), len(matching))
