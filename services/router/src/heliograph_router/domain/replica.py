"""The router's copy of one node, as bus contract v1 keeps it equal to the node.

Deltas are applied in the order of their numbers. One that is missing may only be late: those after it are
held, and after a second of waiting a snapshot is needed. A heartbeat proves the copy equal to the node, or
shows it to be wrong; a wrong copy takes no more deltas, it holds them until a snapshot has put it right.
A new incarnation begins with what was known of the old one, which the snapshot then corrects as a diff:
clearing it would make a node that restarts vanish for a while. Only its delta number 1 needs no
snapshot, because a new incarnation has published nothing before it.
"""

from dataclasses import dataclass, field

from heliograph_router.domain.events import Alive, Changed, Snapshot
from heliograph_router.domain.held import HeldDeltas
from heliograph_router.domain.index import Index
from heliograph_shared.inventory import Inventory

GAP_S = 1.0
"""How long a missing delta is waited for."""


@dataclass(slots=True)
class _Progress:
    """How far the copy has come in one incarnation.

    `sequence` is of the last delta that it holds, None while it has no ground to build on; `heard` is the
    highest that the node has spoken of. It is `wrong` when a heartbeat or a snapshot said so.
    """

    sequence: int | None = None
    heard: int = 0
    behind_since_s: float = 0.0
    wrong: bool = False
    introduced: bool = False
    held: HeldDeltas = field(default_factory=HeldDeltas)

    def hear(self, sequence: int, now_s: float) -> None:
        if sequence > self.heard:
            if self.sequence == self.heard:
                self.behind_since_s = now_s
            self.heard = sequence


class Replica:
    """Writes the node's row in `index`, and is the only one that does. What it is given is of its node.

    Its incarnation is the latest one heard; the caller drops what is older.
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
        """Of the last delta that the copy holds; 0 while it has no ground in this incarnation."""
        return self._progress.sequence or 0

    @property
    def in_sync(self) -> bool:
        """Whether the copy is, for all that was heard, what the node has published."""
        progress = self._progress
        return progress.sequence is not None and not progress.wrong and progress.sequence >= progress.heard

    def needs_snapshot(self, now_s: float) -> bool:
        progress = self._progress
        if progress.sequence is None or progress.wrong:
            return True
        return progress.sequence < progress.heard and now_s - progress.behind_since_s >= GAP_S

    def changed(self, delta: Changed, now_s: float) -> bool:
        """Apply or hold it; False when it was known already."""
        progress = self._follow(delta.incarnation)
        known = progress.sequence
        if delta.sequence in progress.held or (known is not None and delta.sequence <= known):
            return False
        progress.hear(delta.sequence, now_s)
        if known is None and delta.sequence == 1:
            self._index.replace(self.node, delta.added, delta.tagged)
            progress.sequence = 1
            self._catch_up(now_s)
        elif known == delta.sequence - 1 and not progress.wrong:
            self._apply(delta)
            self._catch_up(now_s)
        else:
            progress.held.put(delta)
        return True

    def alive(self, heartbeat: Alive, now_s: float) -> None:
        progress = self._follow(heartbeat.incarnation)
        progress.hear(heartbeat.sequence, now_s)
        self.addresses, self.zone = heartbeat.addresses, heartbeat.zone
        progress.introduced = True
        if heartbeat.sequence == progress.sequence:
            self._compare(heartbeat.inventory)

    def replaced(self, snapshot: Snapshot, now_s: float) -> bool:
        """Take over what the node holds; False when the copy is as new already."""
        progress = self._follow(snapshot.incarnation)
        if not progress.introduced:  # a heartbeat may be newer than a snapshot, which takes a while
            self.addresses, self.zone = snapshot.addresses, snapshot.zone
        if progress.sequence is not None and (
            snapshot.sequence < progress.sequence
            or (snapshot.sequence == progress.sequence and not progress.wrong)
        ):
            return False
        self._index.replace(self.node, snapshot.content, snapshot.tags)
        progress.hear(snapshot.sequence, now_s)
        progress.sequence = snapshot.sequence
        self._compare(snapshot.inventory)
        self._catch_up(now_s)
        return True

    def _follow(self, incarnation: int) -> _Progress:
        if incarnation > self.incarnation:
            self.incarnation, self._progress = incarnation, _Progress()
        return self._progress

    def _compare(self, stated: Inventory) -> None:
        self._progress.wrong = stated != self._index.inventory(self.node)

    def _catch_up(self, now_s: float) -> None:
        """Apply what is held and now follows; what is missing still is waited for from now on."""
        progress = self._progress
        assert progress.sequence is not None
        progress.behind_since_s = now_s
        if not progress.held:
            return
        progress.held.forget(progress.sequence)
        while not progress.wrong and (delta := progress.held.take(progress.sequence + 1)):
            self._apply(delta)

    def _apply(self, delta: Changed) -> None:
        self._index.change(
            self.node,
            added=delta.added,
            removed=delta.removed,
            tagged=delta.tagged,
            untagged=delta.untagged,
        )
        self._progress.sequence = delta.sequence
