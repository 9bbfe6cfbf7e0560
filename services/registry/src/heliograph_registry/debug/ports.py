"""What the debug page needs from outside."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from heliograph_registry.debug.domain.cluster import ClusterNode, ClusterTags
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import Source
from heliograph_shared.digest import Digest
from heliograph_shared.findings import Report


class RouterQueries(Protocol):
    """What routers tell people, apart from the way of a pull. All of it raises `ResolverUnavailable`."""

    async def answers(self) -> None:
        """Returns when a router answers."""
        ...

    async def nodes(self) -> Sequence[ClusterNode]:
        """All nodes that live, this one too."""
        ...

    async def tags(self, containing: str, most: int) -> ClusterTags:
        """The first tags of the cluster with the text in their reference."""
        ...

    async def holders(self, digests: Sequence[Digest], most: int) -> list[tuple[str, ...]]:
        """For each digest at most `most` nodes that hold it, in no order, this one too."""
        ...


class Doctor(Protocol):
    """That of another service of this node."""

    @property
    def service(self) -> str: ...

    async def report(self) -> Report:
        """What it has found. Raises `FindingsUnavailable`."""
        ...


class PullAnswer(Protocol):
    """What this registry's own data port has answered. `read` raises `PullInterrupted`."""

    @property
    def status(self) -> int: ...

    @property
    def source(self) -> Source: ...

    @property
    def reason(self) -> Reason | None:
        """Why it was not served, None when the answer does not say."""
        ...

    @property
    def digest(self) -> str: ...

    @property
    def complete(self) -> bool:
        """Whether all announced bytes have been read."""
        ...

    def read(self, buffer: memoryview) -> int:
        """How many bytes have been written to the buffer, 0 at the end."""
        ...


class PullConnection(Protocol):
    """One connection, used by one thread, except for `abort`."""

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> PullAnswer:
        """Raises `PullInterrupted`."""
        ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class DataPort(Protocol):
    """This registry as its clients see it, with what they need to be let in."""

    def open(self) -> PullConnection: ...
