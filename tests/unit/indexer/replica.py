"""The state that a reader of the bus derives from one node's messages, starting empty."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from heliograph_indexer.domain.content import StoreContent, TagTarget
from heliograph_shared.digest import Digest
from heliograph_shared.events import ContentChanged, NodeSnapshot, Tagged
from heliograph_shared.inventory import Inventory, RunningInventory


def inventory_of(blobs: Mapping[Digest, int], tags: Mapping[str, Tagged]) -> Inventory:
    """Computed from scratch, as a router may."""
    running = RunningInventory()
    for digest in blobs:
        running.add_digest(digest)
    for reference, tagged in tags.items():
        running.add_tag(reference, tagged.digest)
    return running.freeze()


@dataclass
class Replica:
    """Applies messages in order, and asserts that none is missing and that each inventory is right."""

    incarnation: int = 0
    sequence: int = 0
    blobs: dict[Digest, int] = field(default_factory=dict)
    tags: dict[str, Tagged] = field(default_factory=dict)

    def apply(self, message: ContentChanged) -> None:
        if message.incarnation > self.incarnation:
            self.incarnation, self.sequence = message.incarnation, 0
            self.blobs, self.tags = {}, {}
        assert message.incarnation == self.incarnation
        assert message.sequence == self.sequence + 1
        self.sequence = message.sequence
        for digest in message.removed:
            del self.blobs[digest]
        for reference in message.untagged:
            del self.tags[reference]
        self.blobs.update(message.added)
        self.tags.update(message.tagged)
        assert message.inventory == inventory_of(self.blobs, self.tags)

    @property
    def content(self) -> StoreContent:
        tags = {
            reference: TagTarget(tagged.digest, tagged.tagged_at_ms)
            for reference, tagged in self.tags.items()
        }
        return StoreContent(self.blobs, tags)


def content_of(chunks: list[NodeSnapshot]) -> StoreContent:
    """Assemble a snapshot, asserting that its chunks are one state."""
    ordered = sorted(chunks, key=lambda chunk: chunk.chunk)
    assert [chunk.chunk for chunk in ordered] == list(range(ordered[0].chunks))
    assert len({(chunk.incarnation, chunk.sequence) for chunk in ordered}) == 1
    replica = Replica()
    for chunk in ordered:
        replica.blobs.update(chunk.content)
        replica.tags.update(chunk.tags)
    assert all(chunk.inventory == inventory_of(replica.blobs, replica.tags) for chunk in ordered)
    return replica.content
