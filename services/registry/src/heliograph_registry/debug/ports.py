"""The ports of the debug page: what its use cases need from outside."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from heliograph_registry.debug.domain.cluster import ClusterNode, ClusterTags
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import Source
from heliograph_shared.digest import Digest
from heliograph_shared.findings import Report


class RouterQueries(Protocol):
    """Queries to a router that no pull needs. Every method raises `ResolverUnavailable`."""

    async def ping(self) -> None:
        """Return once a router has answered."""
        ...

    async def nodes(self) -> Sequence[ClusterNode]:
        """All live nodes, including this one."""
        ...

    async def tags(self, containing: str, most: int) -> ClusterTags:
        """The cluster's tags with `containing` in their reference, at most `most` of them."""
        ...

    async def holders(self, digests: Sequence[Digest], most: int) -> list[tuple[str, ...]]:
        """For each digest at most `most` nodes that hold it, in any order; this node may be one of them."""
        ...


class DoctorReports(Protocol):
    """The reports of the doctor of one service on this node."""

    @property
    def service(self) -> str:
        """The name of the service, such as `indexer`."""
        ...

    async def latest(self) -> Report:
        """The doctor's last report. Raises `FindingsUnavailable`."""
        ...


class IndexerState(Protocol):
    """What this node's indexer has published about this node."""

    @property
    def tags(self) -> Mapping[str, Digest]: ...

    @property
    def addresses(self) -> frozenset[str]:
        """`host:port` at which peers reach this registry."""
        ...


class PullResponse(Protocol):
    """A response of this registry's own data port."""

    @property
    def status(self) -> int: ...

    @property
    def source(self) -> Source: ...

    @property
    def reason(self) -> Reason | None:
        """Why the request was not served; None when the response names no known reason."""
        ...

    @property
    def digest(self) -> str: ...

    @property
    def complete(self) -> bool:
        """True once all announced bytes have been read."""
        ...

    def read(self, buffer: memoryview) -> int:
        """Write bytes of the body to `buffer`; returns how many, 0 at the end. Raises `PullInterrupted`."""
        ...


class PullConnection(Protocol):
    """A connection to this registry's own data port. Only `abort` may be called from another thread."""

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> PullResponse:
        """Raises `PullInterrupted`."""
        ...

    def abort(self) -> None:
        """Make a running `request` or `read` end at once."""
        ...

    def close(self) -> None: ...


class DataPort(Protocol):
    """This registry's own data port, as clients reach it; connections carry the needed credentials."""

    def open(self) -> PullConnection: ...
