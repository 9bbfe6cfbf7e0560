"""What the use cases need from outside: of the indexer itself, of the examination, of a test pull."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from heliograph_indexer.domain.content import StoreContent, StoreEvent, TagTarget
from heliograph_indexer.domain.environment_checks import BusStatus, ContentDirectoryStatus
from heliograph_indexer.domain.missing_layers import ImageRecord, Labels
from heliograph_indexer.domain.namesakes import Namesake
from heliograph_indexer.domain.proxies import ProxySettings
from heliograph_indexer.domain.publication import Delta, Position
from heliograph_indexer.domain.runtime_settings import ContainerdVersion, RuntimeSettings
from heliograph_shared.digest import Digest


class StoreWatch(Protocol):
    """A content store that is being watched."""

    @property
    def content(self) -> StoreContent:
        """What it held when the watch began."""
        ...

    def changes(self) -> AsyncIterator[StoreEvent]:
        """Every change since then, each once; endless. Raises `StoreUnavailable` when the store fails."""
        ...


class ContentStore(Protocol):
    """Holds this node's blobs and tags."""

    def watch(self) -> AbstractAsyncContextManager[StoreWatch]:
        """List the store and watch it from then on; no change in between is missed.

        One watch at a time. Raises `StoreUnavailable` on entering.
        """
        ...

    async def downloading(self) -> Sequence[Digest]:
        """Blobs being written to the store, as far as it reports them. Raises `StoreUnavailable`."""
        ...


class Announcer(Protocol):
    """Publishes on the bus. A message that cannot be sent is dropped, and `PublishFailed` is raised."""

    @property
    def connected(self) -> bool: ...

    async def changed(self, delta: Delta, noted_s: float | None) -> None:
        """`noted_s` is when the earliest of the changes was noted (monotonic), None if unknown."""
        ...

    async def alive(
        self, position: Position, addresses: Sequence[str], downloading: Sequence[Digest]
    ) -> None: ...

    async def left(self, position: Position) -> None: ...


class NodeStateWriter(Protocol):
    """Tells this node's registry what it must know without router and bus."""

    async def write(self, addresses: Sequence[str], tags: Mapping[str, TagTarget]) -> None:
        """Raises `StateUnwritable`."""
        ...


class RegistryReadiness(Protocol):
    """The readiness of this node's registry."""

    async def ready(self) -> bool | None:
        """None without an answer within a second."""
        ...


class RegistryContent(Protocol):
    """What this node's registry says of the content store."""

    async def unservable(self) -> frozenset[Digest] | None:
        """Blobs that it could not serve lately; None without an answer."""
        ...


class NodeAddress(Protocol):
    """The address of this node in the cluster's network."""

    async def own_host(self) -> str | None:
        """None while it is unknown."""
        ...


class RuntimeInspection(Protocol):
    """containerd, as the examination reads it. Every call may raise `StoreUnavailable`."""

    async def version(self) -> ContainerdVersion: ...

    async def reported_settings(self) -> RuntimeSettings | None:
        """None when this version does not report them. Raises `CallRefused`."""
        ...

    async def sharing_policy(self) -> str:
        """Empty when it is not reported."""
        ...

    async def content_root(self) -> Path:
        """The directory that holds `blobs`, on containerd's file system."""
        ...

    async def images(self) -> Sequence[ImageRecord]: ...

    async def blobs(self) -> Mapping[str, Labels]:
        """Every digest with its labels that refer to other content."""
        ...

    async def layers(self, manifest: str) -> tuple[str, ...]:
        """Read the manifest and return its layers; empty if it is no manifest."""
        ...


class SettingsFile(Protocol):
    """containerd's config.toml."""

    def __call__(self, version: ContainerdVersion) -> RuntimeSettings:
        """Blocks. Raises `ConfigUnreadable`."""
        ...


class ReadProxies(Protocol):
    """The proxies in the environment of containerd's process."""

    async def __call__(self) -> ProxySettings:
        """Raises `EnvironmentUnreadable`."""
        ...


class ContentDirectory(Protocol):
    """The content directory, read as the registry reads it."""

    async def __call__(self, path: Path, digests: Sequence[str]) -> ContentDirectoryStatus:
        """Try to read `path`, and look for the blobs of `digests` in it."""
        ...


class BusProbe(Protocol):
    """The bus, over a connection made for the examination."""

    @property
    def shown(self) -> Sequence[str]:
        """The servers' URLs without credentials."""
        ...

    async def ask(self) -> BusStatus: ...


class RegistryInspection(Protocol):
    """This node's registry. A reason is empty when there is no problem."""

    @property
    def ready_url(self) -> str:
        """Empty if it is not configured."""
        ...

    async def unready_reason(self) -> str: ...

    async def unreachable_reason(self, address: str) -> str: ...


class RunningIndexer(Protocol):
    """The indexer in whose process the examination runs."""

    @property
    def incarnation(self) -> int: ...

    def namesake(self) -> Namesake | None:
        """Another indexer that announces content under the same node name."""
        ...


class ImagePuller(Protocol):
    """containerd, as a test pull uses it. Every call may raise `StoreUnavailable`."""

    async def images(self) -> Sequence[ImageRecord]: ...

    async def pull(self, image: str, timeout_s: float) -> None:
        """Raises `CallRefused`."""
        ...

    async def delete(self, names: list[str]) -> None:
        """Delete image names and the content that is garbage without them."""
        ...


class RequestCounter(Protocol):
    """The request count of this node's registry."""

    async def requests(self) -> float | None:
        """Requests answered so far; None if the registry does not report it."""
        ...
