"""What a measured pull has come to, part by part. Pure but for the numbers that its threads write."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from heliograph_registry.debug.domain.advice import meaning
from heliograph_registry.debug.domain.formatting import count, listed, size, speed, took
from heliograph_registry.debug.domain.image import Part
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import NOBODY, FromPeer, Source
from heliograph_shared.reference import Reference


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    UPSTREAM = "upstream"
    """The mirror does not serve it: containerd would go to the next host."""
    FAILED = "failed"
    STOPPED = "stopped"


OVER = {State.DONE, State.UPSTREAM, State.FAILED, State.STOPPED}


@dataclass(slots=True)
class PulledPart:
    """`note` says why it did not come; the first byte came after `first_byte_s`."""

    part: Part
    state: State = State.WAITING
    received: int = 0
    source: Source = NOBODY
    note: str = ""
    first_byte_s: float = 0.0
    seconds: float = 0.0

    @property
    def place(self) -> str:
        """For people: a node's name, or this node."""
        return self.source.node if isinstance(self.source, FromPeer) else "this node"

    @property
    def speed(self) -> str:
        return speed(self.received, self.seconds)


@dataclass(slots=True)
class PullResult:
    """`state` is never `WAITING`; `note` says why it ended as it did, unless it is done."""

    reference: Reference
    started_at: float
    state: State = State.RUNNING
    note: str = ""
    parts: list[PulledPart] = field(default_factory=list)
    seconds: float = 0.0
    resolved: str = ""

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def received(self) -> int:
        return sum(part.received for part in self.parts)

    @property
    def wanted(self) -> int:
        return sum(max(part.part.size_bytes, part.received) for part in self.parts)

    @property
    def sentence(self) -> str:
        """What has come of it, or how far it is."""
        done = [part for part in self.parts if part.state is State.DONE]
        if not self.over:
            return f"Under way: {size(self.received)} of {size(self.wanted)}, {len(done)} of " + count(
                len(self.parts), "part"
            )
        came = f"{size(self.received)} in {took(self.seconds)}"
        if rate := speed(self.received, self.seconds):
            came += f" ({rate})"
        match self.state:
            case State.DONE:
                return f"All {count(len(done), 'part')} came from the cluster: {came}, {places(done)}."
            case State.UPSTREAM if done:
                left = len(self.parts) - len(done)
                return (
                    f"{count(len(done), 'part').capitalize()} came from the cluster ({came}, "
                    f"{places(done)}); for the other {left} containerd would go upstream: {self.note}."
                )
            case State.UPSTREAM:
                return f"containerd would go upstream for all of it: {self.note}."
            case State.STOPPED:
                return f"Stopped: {self.note}, after {came}."
            case _:
                return f"Failed: {self.note}, after {came}."


def places(parts: list[PulledPart]) -> str:
    """`5 from node-1 and 3 from this node`, or `all from node-1`."""
    counted = Counter(part.place for part in parts).most_common()
    if len(counted) == 1:
        return f"all from {counted[0][0]}"
    return listed([f"{times} from {place}" for place, times in counted])


def left_to_upstream(status: int, reason: Reason | None) -> str:
    """Why containerd would ask the next host; `reason` is None where the answer names none that is known."""
    return (
        f"{meaning(reason)} ({reason.value})" if reason else f"the mirror answered {status} without a reason"
    )
