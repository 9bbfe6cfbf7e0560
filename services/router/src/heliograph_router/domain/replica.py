"""The router's copy of one node, kept equal to it by the rules of bus contract v1.

Deltas are applied in the order of their sequence numbers. A missing one may only be late: the deltas after it
are kept as pending, and if it does not come within a second, a snapshot is needed. A heartbeat at the copy's
own sequence confirms the copy, or shows that it has diverged. A diverged copy applies no more deltas; it
keeps them as pending until a snapshot has corrected it.

A new incarnation starts with what was known of the old one, and its snapshot is applied as a difference.
Clearing the copy instead would make a restarting node vanish for a while. Delta number 1 of an incarnation
needs no snapshot: it lists everything the node holds, because nothing was published before it.
"""

from dataclasses import dataclass, field

from heliograph_router.domain.events import Alive, Changed, ReceivedSnapshot
from heliograph_router.domain.index import Index
from heliograph_router.domain.pending_deltas import PendingDeltas
from heliograph_shared.inventory import Inventory

GAP_S = 1.0
"""How long to wait for a missing delta before a snapshot is needed."""


@dataclass(slots=True)
class _Progress:
    """How far the copy has come within one incarnation.

    `sequence` is that of the last applied delta, None before the first delta or snapshot is applied; `latest`
    is the highest that any message has mentioned. `behind_since_s` is when the copy fell behind `latest`, or
    last advanced. `diverged` is set when an inventory did not match the copy. `has_heartbeat` is false until
    the incarnation's first heartbeat.
    """

    sequence: int | None = None
    latest: int = 0
    behind_since_s: float = 0.0
    diverged: bool = False
    has_heartbeat: bool = False
    pending: PendingDeltas = field(default_factory=PendingDeltas)

    def mention(self, sequence: int, now_s: float) -> None:
        if sequence > self.latest:
            if self.sequence == self.latest:
                self.behind_since_s = now_s
            self.latest = sequence


class Replica:
    """The only writer of the node's row in `index`.

    The caller passes only events of this node, and none of an incarnation older than the latest.
    """

    def __init__(self, node: str, index: Index) -> None:
        self.node = node
        self.incarnation = 0
        self.addresses: tuple[str, ...] = ()
        self.zone = ""
        self._index = index
        self._progress = _Progress()

    @property
    def sequence(self) -> int:
        """That of the last applied delta; 0 before anything of this incarnation is applied."""
        return self._progress.sequence or 0

    @property
    def in_sync(self) -> bool:
        """True if the copy equals what the node has published, as far as the router has heard."""
        progress = self._progress
        return (
            progress.sequence is not None and not progress.diverged and progress.sequence >= progress.latest
        )

    def needs_snapshot(self, now_s: float) -> bool:
        progress = self._progress
        if progress.sequence is None or progress.diverged:
            return True
        return progress.sequence < progress.latest and now_s - progress.behind_since_s >= GAP_S

    def apply_delta(self, delta: Changed, now_s: float) -> bool:
        """Apply the delta or keep it as pending; False when it was already known."""
        progress = self._progress_of(delta.incarnation)
        known = progress.sequence
        if delta.sequence in progress.pending or (known is not None and delta.sequence <= known):
            return False
        progress.mention(delta.sequence, now_s)
        if known is None and delta.sequence == 1:
            self._index.replace(self.node, delta.added, delta.tagged)
            progress.sequence = 1
            self._apply_pending(now_s)
        elif known == delta.sequence - 1 and not progress.diverged:
            self._write(delta)
            self._apply_pending(now_s)
        else:
            progress.pending.put(delta)
        return True

    def apply_heartbeat(self, heartbeat: Alive, now_s: float) -> None:
        progress = self._progress_of(heartbeat.incarnation)
        progress.mention(heartbeat.sequence, now_s)
        self.addresses, self.zone = heartbeat.addresses, heartbeat.zone
        progress.has_heartbeat = True
        if heartbeat.sequence == progress.sequence:
            self._compare(heartbeat.inventory)

    def apply_snapshot(self, snapshot: ReceivedSnapshot, now_s: float) -> bool:
        """Replace the copy by the snapshot; False when the copy is just as new already."""
        progress = self._progress_of(snapshot.incarnation)
        if (
            not progress.has_heartbeat
        ):  # a heartbeat may be newer than a snapshot, which takes a while to arrive
            self.addresses, self.zone = snapshot.addresses, snapshot.zone
        if progress.sequence is not None and (
            snapshot.sequence < progress.sequence
            or (snapshot.sequence == progress.sequence and not progress.diverged)
        ):
            return False
        self._index.replace(self.node, snapshot.content, snapshot.tags)
        progress.mention(snapshot.sequence, now_s)
        progress.sequence = snapshot.sequence
        self._compare(snapshot.inventory)
        self._apply_pending(now_s)
        return True

    def _progress_of(self, incarnation: int) -> _Progress:
        """The progress within that incarnation; starts anew if it is a later one."""
        if incarnation > self.incarnation:
            self.incarnation, self._progress = incarnation, _Progress()
        return self._progress

    def _compare(self, inventory: Inventory) -> None:
        self._progress.diverged = inventory != self._index.inventory(self.node)

    def _apply_pending(self, now_s: float) -> None:
        """Apply the pending deltas that now follow, and restart the wait for any that is still missing."""
        progress = self._progress
        assert progress.sequence is not None
        progress.behind_since_s = now_s
        if not progress.pending:
            return
        progress.pending.drop_through(progress.sequence)
        while not progress.diverged and (delta := progress.pending.take(progress.sequence + 1)):
            self._write(delta)

    def _write(self, delta: Changed) -> None:
        self._index.change(
            self.node,
            added=delta.added,
            removed=delta.removed,
            tagged=delta.tagged,
            untagged=delta.untagged,
        )
        self._progress.sequence = delta.sequence
