"""What a content store holds, and how that changes: the one vocabulary of stores and announcements."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from heliograph_shared.digest import Digest


@dataclass(frozen=True, slots=True)
class Tag:
    """What a tag reference points at, and since when (milliseconds since the epoch)."""

    digest: Digest
    tagged_at_ms: int


@dataclass(frozen=True, slots=True)
class Content:
    """All of a store at one moment: blob sizes in bytes, and tags by `registry/repository:tag`."""

    blobs: Mapping[Digest, int]
    tags: Mapping[str, Tag]


@dataclass(frozen=True, slots=True)
class BlobAdded:
    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BlobRemoved:
    digest: Digest


@dataclass(frozen=True, slots=True)
class TagSet:
    """The tag is new, points elsewhere, or was set again."""

    reference: str
    digest: Digest
    tagged_at_ms: int


@dataclass(frozen=True, slots=True)
class TagRemoved:
    reference: str


StoreEvent = BlobAdded | BlobRemoved | TagSet | TagRemoved


@dataclass(slots=True)
class Holdings:
    """A store's content as far as it is known, kept up event by event. A repeated event changes nothing."""

    blobs: dict[Digest, int] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)

    def apply(self, event: StoreEvent) -> None:
        match event:
            case BlobAdded(digest, size_bytes):
                self.blobs[digest] = size_bytes
            case BlobRemoved(digest):
                self.blobs.pop(digest, None)
            case TagSet(reference, digest, tagged_at_ms):
                self.tags[reference] = Tag(digest, tagged_at_ms)
            case TagRemoved(reference):
                self.tags.pop(reference, None)
            case _:
                assert_never(event)

    def blob_event(self, digest: Digest, size_bytes: int | None) -> StoreEvent | None:
        """What a blob's size, None for absent, says that is not known yet."""
        if self.blobs.get(digest) == size_bytes:
            return None
        return BlobRemoved(digest) if size_bytes is None else BlobAdded(digest, size_bytes)

    def tag_event(self, reference: str, tag: Tag | None) -> StoreEvent | None:
        """What a tag, None for absent, says that is not known yet."""
        if self.tags.get(reference) == tag:
            return None
        return TagRemoved(reference) if tag is None else TagSet(reference, tag.digest, tag.tagged_at_ms)

    def events_towards(self, content: Content) -> Iterator[StoreEvent]:
        """What has to happen to hold exactly `content`. Nothing may be applied while this is read."""
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
