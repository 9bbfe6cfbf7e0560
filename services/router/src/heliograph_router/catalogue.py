"""The tags of the whole cluster, for people: looked through in small steps, with others answered between."""

import asyncio
from dataclasses import dataclass

from heliograph_router.domain.index import Index
from heliograph_shared.digest import Digest

_LOOKED_AT_ONCE = 5_000
MOST_TAGS, DEFAULT_TAGS = 1_000, 100


@dataclass(frozen=True, slots=True)
class TaggedImage:
    """`digest` is what the tag names, `nodes` how many have it."""

    reference: str
    digest: Digest
    nodes: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The first tags by reference; `found` counts those, too, that are not listed."""

    tags: tuple[TaggedImage, ...]
    found: int


async def list_tags(index: Index, containing: str, most: int) -> Listing:
    """At most `most` tags whose reference contains the text."""
    known = index.references()
    matching: list[str] = []
    for begin in range(0, len(known), _LOOKED_AT_ONCE):
        some = known[begin : begin + _LOOKED_AT_ONCE]
        matching += [reference for reference in some if containing in reference]
        await asyncio.sleep(0)
    matching.sort()
    tags = []
    for reference in matching[:most]:
        digest = index.digest_of(reference)
        if digest is not None:
            tags.append(TaggedImage(reference, digest, index.tagged_on(reference)))
    return Listing(tuple(tags), len(matching))
