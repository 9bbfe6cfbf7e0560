"""The stores that the contract of `ContentStore` holds for, each with a hand that changes what it holds."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from heliograph_indexer.adapters.containerd import ContainerdStore
from heliograph_indexer.adapters.metrics import IndexerMetrics
from heliograph_indexer.adapters.oci_layout import OciLayoutStore
from heliograph_indexer.domain.content import BlobAdded, BlobRemoved, TagRemoved, TagSet
from heliograph_indexer.ports import ContentStore
from heliograph_shared.digest import Digest, digest_of, hex_of
from heliograph_shared.reference import InvalidReference, parse_tag_reference
from tests.support.containerd import Containerd
from tests.support.machines import SERIES, release
from tests.support.rpc import containerd_pb2 as pb
from tests.unit.indexer.memory_store import MemoryStore

KINDS = ("memory", "oci-layout", *(f"containerd-{series}" for series in SERIES))
NAMESPACE = "k8s.io"

# Content without an image is garbage: collect it only where a test asks for that.
NO_COLLECTION = """\
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "24h"
  mutation_threshold = 1000000000
"""


class Hand(Protocol):
    """Changes a store from outside, as other programs do."""

    @property
    def store(self) -> ContentStore: ...

    async def add_blob(self, body: bytes) -> Digest: ...
    async def remove_blob(self, digest: Digest) -> None: ...
    async def tag(self, reference: str, digest: Digest) -> None: ...
    async def untag(self, reference: str) -> None: ...
    async def take_away(self) -> None: ...
    async def give_back(self) -> None: ...


@asynccontextmanager
async def hand(kind: str, directory: Path) -> AsyncIterator[Hand]:
    if kind == "memory":
        yield MemoryHand()
    elif kind == "oci-layout":
        yield LayoutHand(directory / "layout")
    else:
        async with containerd(kind.removeprefix("containerd-")) as daemon:
            yield ContainerdHand(daemon)


def containerd(series: str) -> Containerd:
    """A daemon, not yet started, in a directory that is short enough for a socket's address."""
    directory = Path(tempfile.mkdtemp(prefix="ctd-"))
    return Containerd(release(series), directory, extra_config=NO_COLLECTION)


class MemoryHand:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self._clock = 0

    async def add_blob(self, body: bytes) -> Digest:
        digest = digest_of(body)
        self.store.happen(BlobAdded(digest, len(body)))
        return digest

    async def remove_blob(self, digest: Digest) -> None:
        self.store.happen(BlobRemoved(digest))

    async def tag(self, reference: str, digest: Digest) -> None:
        self._clock += 1
        with suppress(InvalidReference):
            parse_tag_reference(reference)
            self.store.happen(TagSet(reference, digest, self._clock))

    async def untag(self, reference: str) -> None:
        self.store.happen(TagRemoved(reference))

    async def take_away(self) -> None:
        self.store.available = False

    async def give_back(self) -> None:
        self.store.available = True


class LayoutHand:
    """Writes as the better tools do: to a draft beside, then renamed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tags: dict[str, Digest] = {}
        self.store = OciLayoutStore(directory, IndexerMetrics())
        directory.mkdir()
        self._write_index()

    async def add_blob(self, body: bytes) -> Digest:
        digest = digest_of(body)
        path = self._directory / "blobs" / "sha256" / hex_of(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(body)
        draft.replace(path)
        return digest

    async def remove_blob(self, digest: Digest) -> None:
        (self._directory / "blobs" / "sha256" / hex_of(digest)).unlink()

    async def tag(self, reference: str, digest: Digest) -> None:
        self._tags[reference] = digest
        self._write_index()

    async def untag(self, reference: str) -> None:
        del self._tags[reference]
        self._write_index()

    async def take_away(self) -> None:
        self._directory.rename(self._directory.with_name("away"))

    async def give_back(self) -> None:
        self._directory.with_name("away").rename(self._directory)

    def _write_index(self) -> None:
        entries = [
            {"digest": digest, "annotations": {"io.containerd.image.name": reference}}
            for reference, digest in self._tags.items()
        ]
        draft = self._directory / "index.json.draft"
        draft.write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
        draft.replace(self._directory / "index.json")


class ContainerdHand:
    def __init__(self, daemon: Containerd) -> None:
        self.daemon = daemon
        self.store = ContainerdStore(daemon.socket, NAMESPACE, None, IndexerMetrics())

    async def add_blob(self, body: bytes, *, namespace: str = NAMESPACE) -> Digest:
        digest = digest_of(body)
        await self.ctr(
            *("content", "ingest", "--expected-digest", digest, digest), body=body, namespace=namespace
        )
        return digest

    async def remove_blob(self, digest: Digest) -> None:
        await self.daemon.store.delete_content(digest)

    async def tag(self, reference: str, digest: Digest) -> None:
        target = pb.Descriptor(media_type="application/octet-stream", digest=digest, size=1)
        if reference in await self.daemon.store.images():
            await self.daemon.store.update_image(reference, target)
        else:
            await self.daemon.store.create_image(reference, target)

    async def untag(self, reference: str) -> None:
        await self.daemon.store.delete_image(reference, collect=False)

    async def take_away(self) -> None:
        await self.daemon.kill()

    async def give_back(self) -> None:
        await self.daemon.start()

    async def ctr(self, *arguments: str, body: bytes = b"", namespace: str = NAMESPACE) -> None:
        """Run containerd's own client. It seeks in its input when another namespace has the content."""
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.seek(0)
            process = await asyncio.create_subprocess_exec(
                self.daemon.release.ctr,
                *("--address", str(self.daemon.socket), "--namespace", namespace, *arguments),
                stdin=file,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
