"""What announcing a node needs from outside."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from heliograph_indexer.domain.content import Content, StoreEvent, Tag
from heliograph_indexer.domain.publication import Delta, Position
from heliograph_shared.digest import Digest


class StoreWatch(Protocol):
    """A store that is being followed."""

    @property
    def content(self) -> Content:
        """What it held when the watch began."""
        ...

    def changes(self) -> AsyncIterator[StoreEvent]:
        """Every change since, each once, without end. Raises `StoreUnavailable` when the store goes."""
        ...


class ContentStore(Protocol):
    """Where this node's blobs and tags lie."""

    def watch(self) -> AbstractAsyncContextManager[StoreWatch]:
        """Follow it from a listing on; nothing that happens meanwhile is missed.

        One watch at a time. Raises `StoreUnavailable` on entering.
        """
        ...

    async def downloading(self) -> Sequence[Digest]:
        """What is on its way into the store, as far as it tells. Raises `StoreUnavailable`."""
        ...


class Announcer(Protocol):
    """The bus, in one direction. What it cannot send is dropped: `BusUnavailable` is raised."""

    @property
    def connected(self) -> bool: ...

    async def changed(self, delta: Delta, noted_s: float | None) -> None:
        """`noted_s`: when the earliest of the changes was noted (monotonic), None where it is not known."""
        ...

    async def alive(
        self, position: Position, addresses: Sequence[str], downloading: Sequence[Digest]
    ) -> None: ...

    async def left(self, position: Position) -> None: ...


class StateFile(Protocol):
    """What this node's registry knows without router and bus."""

    async def write(self, addresses: Sequence[str], tags: Mapping[str, Tag]) -> None:
        """Raises `StateUnwritable`."""
        ...


class RegistryProbe(Protocol):
    """This node's registry."""

    async def ready(self) -> bool | None:
        """Whether it says so; None where it says nothing within a second."""
        ...


class Route(Protocol):
    """The way from this node to the rest of the cluster."""

    async def own_host(self) -> str | None:
        """The address that this node has on that way; None while it cannot be told."""
        ...
