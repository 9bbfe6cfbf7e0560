"""A node in memory for the examination and the test pull; every part can be broken."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from heliograph_indexer.domain.environment_checks import BusStatus, ContentDirectoryStatus
from heliograph_indexer.domain.missing_layers import ImageRecord, Labels
from heliograph_indexer.domain.namesakes import Namesake
from heliograph_indexer.domain.runtime_settings import ContainerdVersion, RuntimeSettings
from heliograph_indexer.errors import CallRefused, StoreUnavailable

CERTS_D = "/etc/containerd/certs.d"
REQUESTS_OF_A_PULL = 3


class MemoryContainerd:
    """`upstream` maps references to the digests that pulls get; pulls are counted by `registry`, if any."""

    def __init__(self) -> None:
        self.available, self.hanging = True, False
        self.settings: RuntimeSettings | None = RuntimeSettings("its status", CERTS_D, discards_layers=False)
        self.status_error: CallRefused | None = None
        self.records: list[ImageRecord] = []
        self.labels: dict[str, Labels] = {}
        self.upstream: dict[str, str] = {}
        self.registry: MemoryRegistry | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator["MemoryContainerd"]:
        self._check()
        yield self

    async def version(self) -> ContainerdVersion:
        if self.hanging:
            await asyncio.Event().wait()
        return ContainerdVersion("1.7.24")

    async def reported_settings(self) -> RuntimeSettings | None:
        if self.status_error:
            raise self.status_error
        return self.settings

    async def sharing_policy(self) -> str:
        return "shared"

    async def content_root(self) -> Path:
        return Path("/content")

    async def images(self) -> Sequence[ImageRecord]:
        self._check()
        return list(self.records)

    async def blobs(self) -> Mapping[str, Labels]:
        return self.labels

    async def layers(self, manifest: str) -> tuple[str, ...]:
        return ()

    async def pull(self, image: str, timeout_s: float) -> None:
        if image not in self.upstream:
            raise CallRefused("ImageService/PullImage", "NOT_FOUND", image)
        digest = self.upstream[image]
        names = (image, digest, f"{image.rpartition(':')[0]}@{digest}")  # as the CRI names an image
        self.records = [one for one in self.records if one.name not in names]
        self.records += [ImageRecord(name, digest, 1) for name in names]
        if self.registry:
            self.registry.count += REQUESTS_OF_A_PULL

    async def delete(self, names: list[str]) -> None:
        self.records = [one for one in self.records if one.name not in names]

    def _check(self) -> None:
        if not self.available:
            raise StoreUnavailable("containerd in memory", "switched off")


class MemoryIndexer:
    """`other` is a second indexer with the node's name, if there is one."""

    def __init__(self) -> None:
        self.incarnation = 1_767_830_400 * 10**9
        self.other: Namesake | None = None

    def namesake(self) -> Namesake | None:
        return self.other


class MemoryRegistry:
    def __init__(self) -> None:
        self.ready_url = "http://127.0.0.1:9090/readyz"
        self.unready = self.unreachable = ""
        self.count = 10.0
        self.counts = True

    async def unready_reason(self) -> str:
        return self.unready

    async def unreachable_reason(self, address: str) -> str:
        return self.unreachable

    async def requests(self) -> float | None:
        return self.count if self.counts else None


class MemoryBus:
    def __init__(self) -> None:
        self.shown = ["nats://10.0.0.9:4222"]
        self.status = BusStatus(ahead_s=0.0)

    async def ask(self) -> BusStatus:
        return self.status


class MemoryAddress:
    def __init__(self, host: str | None = "10.0.0.7") -> None:
        self.host = host

    async def own_host(self) -> str | None:
        return self.host


async def whole_directory(path: Path, digests: Sequence[str]) -> ContentDirectoryStatus:
    """A content directory that holds every blob."""
    return ContentDirectoryStatus(str(path), sampled=len(digests), found=len(digests))
