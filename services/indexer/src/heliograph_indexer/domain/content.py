"""What a content store holds, and the events that change it; shared by stores and announcements. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from heliograph_shared.digest import Digest


@dataclass(frozen=True, slots=True)
class TagTarget:
    """The digest that a tag points at, and since when (milliseconds since 1970).

    `moved_at_ms` is since when, if the tag is known to have pointed at another digest before; None: the same.
    """

    digest: Digest
    tagged_at_ms: int
    moved_at_ms: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class StoreContent:
    """A store's full content at one moment: blob sizes in bytes, and tags by `registry/repository:tag`."""

    blobs: Mapping[Digest, int]
    tags: Mapping[str, TagTarget]


@dataclass(frozen=True, slots=True)
class BlobAdded:
    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BlobRemoved:
    digest: Digest


@dataclass(frozen=True, slots=True)
class TagSet:
    """The tag is new or points at another digest."""

    reference: str
    digest: Digest
    tagged_at_ms: int


@dataclass(frozen=True, slots=True)
class TagRemoved:
    reference: str


StoreEvent = BlobAdded | BlobRemoved | TagSet | TagRemoved


@dataclass(slots=True)
class Holdings:
    """A store's content as known so far, updated by events. A repeated event changes nothing."""

    blobs: dict[Digest, int] = field(default_factory=dict)
    tags: dict[str, TagTarget] = field(default_factory=dict)

    def apply(self, event: StoreEvent) -> None:
        match event:
            case BlobAdded(digest, size_bytes):
                self.blobs[digest] = size_bytes
            case BlobRemoved(digest):
                self.blobs.pop(digest, None)
            case TagSet(reference, digest, tagged_at_ms):
                self.tags[reference] = TagTarget(digest, tagged_at_ms)
            case TagRemoved(reference):
                self.tags.pop(reference, None)
            case _:
                assert_never(event)

    def blob_event(self, digest: Digest, size_bytes: int | None) -> StoreEvent | None:
        """The event that makes the blob's size (None: absent) known; None if it is known already."""
        if self.blobs.get(digest) == size_bytes:
            return None
        return BlobRemoved(digest) if size_bytes is None else BlobAdded(digest, size_bytes)

    def tag_event(self, reference: str, tag: TagTarget | None) -> StoreEvent | None:
        """The event that makes the tag (None: absent) known; None if it is known already.

        A tag keeps its time while it points at the same digest, however often it is set again.
        """
        known = self.tags.get(reference)
        if tag is None:
            return None if known is None else TagRemoved(reference)
        if known is None:
            return TagSet(reference, tag.digest, tag.tagged_at_ms)
        if known.digest == tag.digest:
            return None
        moved_at_ms = tag.tagged_at_ms if tag.moved_at_ms is None else tag.moved_at_ms
        return TagSet(reference, tag.digest, moved_at_ms)

    def events_to_reach(self, content: StoreContent) -> Iterator[StoreEvent]:
        """The events that lead to exactly `content`. Apply them only after the iteration has ended."""
        for digest in self.blobs.keys() - content.blobs.keys():
            yield BlobRemoved(digest)
        for reference in self.tags.keys() - content.tags.keys():
            yield TagRemoved(reference)
        for digest, size_bytes in content.blobs.items():
            if event := self.blob_event(digest, size_bytes):
                yield event
        for reference, tag in content.tags.items():
            if event := self.tag_event(reference, tag):
                yield event
