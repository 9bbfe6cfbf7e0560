"""The result of a pull test, part by part.

Pure, except that the threads of the pull test write to it while it is read.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from heliograph_registry.debug.domain.advice import meaning
from heliograph_registry.debug.domain.formatting import count, duration, joined, speed
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import NOBODY, FromPeer, Source
from heliograph_shared.formatting import size
from heliograph_shared.image import ImagePart
from heliograph_shared.reference import Reference


class PullState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    UPSTREAM = "upstream"
    """The mirror does not serve it: containerd would ask the next host."""
    FAILED = "failed"
    STOPPED = "stopped"


_OVER = {PullState.DONE, PullState.UPSTREAM, PullState.FAILED, PullState.STOPPED}


@dataclass(slots=True)
class PulledPart:
    """`note` says why the part was not pulled; the first byte came after `first_byte_s`."""

    part: ImagePart
    state: PullState = PullState.WAITING
    received_bytes: int = 0
    source: Source = NOBODY
    note: str = ""
    first_byte_s: float = 0.0
    seconds: float = 0.0

    @property
    def source_name(self) -> str:
        """The name of a peer, or `this node`."""
        return self.source.node if isinstance(self.source, FromPeer) else "this node"

    @property
    def speed(self) -> str:
        return speed(self.received_bytes, self.seconds)


@dataclass(slots=True)
class PullResult:
    """`state` is never `WAITING`; `note` says why the pull test ended, unless it is done."""

    reference: Reference
    started_at: float
    state: PullState = PullState.RUNNING
    note: str = ""
    parts: list[PulledPart] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        return self.state in _OVER

    @property
    def received_bytes(self) -> int:
        return sum(pulled.received_bytes for pulled in self.parts)

    @property
    def expected_bytes(self) -> int:
        return sum(max(pulled.part.size_bytes, pulled.received_bytes) for pulled in self.parts)

    @property
    def sentence(self) -> str:
        """The outcome, or the progress while it runs."""
        done = [pulled for pulled in self.parts if pulled.state is PullState.DONE]
        if not self.over:
            return (
                f"Running: {size(self.received_bytes)} of {size(self.expected_bytes)}, {len(done)} of "
                f"{count(len(self.parts), 'part')}."
            )
        received = f"{size(self.received_bytes)} in {duration(self.seconds)}"
        if rate := speed(self.received_bytes, self.seconds):
            received += f" ({rate})"
        match self.state:
            case PullState.DONE:
                parts = f"All {count(len(done), 'part')}"
                return f"{parts} came from the cluster: {received}, {sources(done)}."
            case PullState.UPSTREAM if done:
                parts, rest = count(len(done), "part"), len(self.parts) - len(done)
                return (
                    f"{parts} came from the cluster ({received}, {sources(done)}); containerd would pull the "
                    f"other {rest} from upstream, because {self.note}."
                )
            case PullState.UPSTREAM:
                return f"Not served: containerd would pull all of it from upstream, because {self.note}."
            case PullState.STOPPED:
                return f"Stopped after {received}: {self.note}."
            case _:
                return f"Failed after {received}: {self.note}."


def sources(parts: Sequence[PulledPart]) -> str:
    """`5 from node-1 and 3 from this node`, or `all from node-1`."""
    counted = Counter(pulled.source_name for pulled in parts).most_common()
    if len(counted) == 1:
        return f"all from {counted[0][0]}"
    return joined([f"{times} from {source}" for source, times in counted])


def upstream_note(status: int, reason: Reason | None) -> str:
    """Why containerd would ask the next host; `reason` is None when the response names no known reason."""
    if reason is None:
        return f"the mirror answered {status} without a reason"
    return f"{meaning(reason)} ({reason.value})"
