"""Pulls an image as containerd does: the tag's digest, index, manifest, then config and layers in parallel.

Every blob is verified against digest and size before it is stored. Blobs are streamed; only manifests are
held in memory.
"""

import asyncio
import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from opentelemetry import trace

from heliograph_cli.credentials import ClientTls
from heliograph_cli.errors import PullFailed
from heliograph_cli.mirror import MirrorClient, open_mirror
from heliograph_shared.digest import Digest, algorithm_of, digest_of
from heliograph_shared.image import (
    Descriptor,
    ImageIndex,
    ImageManifest,
    ImagePart,
    Kind,
    NotAManifest,
    chosen,
    parse_manifest,
)
from heliograph_shared.platforms import Matcher, this_platform
from heliograph_shared.reference import Reference

tracer = trace.get_tracer("heliograph_cli")

_CONCURRENT_BLOBS = 4
_MAX_INDEX_DEPTH = 4


class Draft(Protocol):
    """A blob that is being written; it is deleted unless it is committed."""

    def write(self, piece: bytes) -> None: ...

    def commit(self, digest: Digest) -> None: ...


class Store(Protocol):
    """Stores pulled images."""

    def ingest(self) -> AbstractContextManager[Draft]: ...

    def tag(self, reference: str, target: Descriptor) -> None: ...


class Watcher(Protocol):
    """Is notified of the progress of a pull."""

    def began(self, blob: ImagePart) -> None: ...

    def received(self, digest: Digest, size_bytes: int) -> None: ...


class Nowhere:
    """A store that keeps nothing, for a pull that only verifies."""

    @contextmanager
    def ingest(self) -> Iterator["Nowhere"]:
        yield self

    def write(self, piece: bytes) -> None: ...

    def commit(self, digest: Digest) -> None: ...

    def tag(self, reference: str, target: Descriptor) -> None: ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """A pulled part. `source` is what the mirror states, `local` or `peer/<node>`, else its address."""

    kind: Kind
    digest: Digest
    size_bytes: int
    source: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pulled:
    """Parts in the order of the image. `seconds` is the duration of the pull; parts overlap."""

    reference: Reference
    parts: tuple[Fetched, ...]
    seconds: float

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes for part in self.parts)


async def pull(
    reference: Reference,
    mirror_url: str,
    store: Store,
    watcher: Watcher,
    *,
    authorization: str = "",
    tls: ClientTls | None = None,
) -> Pulled:
    """Pull the image for this machine's platform.

    Raises `PullFailed`, `Unreachable`, `UnusableLayout`.
    """
    with tracer.start_as_current_span("pull", attributes={"heliograph.reference": str(reference)}):
        async with open_mirror(mirror_url, authorization=authorization, tls=tls) as mirror:
            return await _Puller(mirror, store, watcher).pull(reference)


class _Puller:
    def __init__(self, mirror: MirrorClient, store: Store, watcher: Watcher) -> None:
        self._mirror, self._store, self._watcher = mirror, store, watcher
        self._slots = asyncio.Semaphore(_CONCURRENT_BLOBS)

    async def pull(self, reference: Reference) -> Pulled:
        began = time.perf_counter()
        digest = reference.digest or await self._mirror.digest_of(reference)
        root, content, fetched = await self._manifest(reference, digest, None)
        parts = [fetched]
        while isinstance(content, ImageIndex):
            entry = chosen(content.manifests, Matcher(this_platform()))
            if entry is None:
                raise PullFailed(str(reference), "an image index without a manifest")
            if len(parts) > _MAX_INDEX_DEPTH:
                raise PullFailed(str(reference), "too many indexes within each other")
            _, content, fetched = await self._manifest(reference, entry.digest, entry.size_bytes)
            parts.append(fetched)
        parts += await self._blobs(reference, content)
        if name := reference.tag_reference:
            self._store.tag(name, root)
        return Pulled(reference, tuple(parts), time.perf_counter() - began)

    async def _manifest(
        self, reference: Reference, digest: Digest | None, size_bytes: int | None
    ) -> tuple[Descriptor, ImageIndex | ImageManifest, Fetched]:
        """The manifest of `digest`, verified; with None that of the tag, which cannot be verified."""
        began = time.perf_counter()
        body, source = await self._mirror.manifest(reference, digest or reference.tag or "")
        seconds = time.perf_counter() - began
        found = digest_of(body, algorithm_of(digest) if digest else "sha256")
        if found != (digest or found) or len(body) != (size_bytes or len(body)):
            raise PullFailed(found if digest is None else digest, "the mirror sent other bytes")
        try:
            content = parse_manifest(body)
        except NotAManifest as error:
            raise PullFailed(found, f"not a manifest: {error}") from error
        with self._store.ingest() as draft:
            draft.write(body)
            draft.commit(found)
        root = Descriptor(media_type=content.media_type, digest=found, size_bytes=len(body))
        return root, content, Fetched(content.kind, found, len(body), source, seconds)

    async def _blobs(self, reference: Reference, manifest: ImageManifest) -> list[Fetched]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._blob(reference, blob)) for blob in manifest.blobs]
        except ExceptionGroup as failures:  # the first one cancelled the others
            raise failures.exceptions[0] from failures
        return [task.result() for task in tasks]

    async def _blob(self, reference: Reference, blob: ImagePart) -> Fetched:
        async with self._slots:
            self._watcher.began(blob)
            began = time.perf_counter()
            hashed = hashlib.new(algorithm_of(blob.digest))
            with self._store.ingest() as draft:

                def take(piece: bytes) -> None:
                    hashed.update(piece)
                    draft.write(piece)
                    self._watcher.received(blob.digest, len(piece))

                source = await self._mirror.blob(reference, blob, take)
                if f"{algorithm_of(blob.digest)}:{hashed.hexdigest()}" != blob.digest:
                    raise PullFailed(blob.digest, f"wrong bytes from {source}")
                draft.commit(blob.digest)
            return Fetched(blob.kind, blob.digest, blob.size_bytes, source, time.perf_counter() - began)
