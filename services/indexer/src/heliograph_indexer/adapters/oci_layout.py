"""An OCI image layout directory as a content store (image-spec v1.1, image-layout.md).

After every change below the directory, a thread lists it in full and compares the result with the one before.
The layout has no commit: a program may write straight into `blobs/`. So a file that was written in the last
10 s is announced only once its bytes match the digest it is named for; older files are not verified.
"""

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from heliograph_indexer.adapters.directory_watch import DirectoryWatch, watch_directory
from heliograph_indexer.adapters.metrics import IndexerMetrics
from heliograph_indexer.domain.content import Holdings, StoreContent, StoreEvent, TagTarget
from heliograph_indexer.errors import StoreUnavailable
from heliograph_shared.digest import Digest, InvalidDigest, algorithm_of, hex_of, parse_digest
from heliograph_shared.reference import InvalidReference, parse_tag_reference

log = structlog.get_logger()

_SETTLED_S = 10.0
_MAX_INDEX_BYTES = 16 << 20
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class _Descriptor(BaseModel):
    model_config = ConfigDict(extra="ignore")

    digest: str
    annotations: dict[str, str] | None = None


class _LayoutIndex(BaseModel):
    model_config = ConfigDict(extra="ignore")

    manifests: list[_Descriptor]


@dataclass(frozen=True, slots=True)
class _FileVersion:
    """Unchanged as long as the file is not written to."""

    inode: int
    size_bytes: int
    written_ns: int


class OciLayoutStore:
    def __init__(self, directory: Path, metrics: IndexerMetrics) -> None:
        self._directory = directory.absolute()
        self._layout = _LayoutReader(self._directory, metrics)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator["OciLayoutWatch"]:
        async with watch_directory(self._directory) as changes:
            yield OciLayoutWatch(self._layout, await asyncio.to_thread(self._layout.read), changes)

    async def downloading(self) -> Sequence[Digest]:
        """Empty: a layout does not report what is being written to it."""
        return ()


class OciLayoutWatch:
    def __init__(self, layout: "_LayoutReader", content: StoreContent, directory: DirectoryWatch) -> None:
        self.content = content
        self._layout, self._directory = layout, directory
        self._known = Holdings(dict(content.blobs), dict(content.tags))

    async def changes(self) -> AsyncIterator[StoreEvent]:
        async for paths in self._directory.changes():
            if paths and not any(map(self._layout.concerns, paths)):
                continue
            content = await asyncio.to_thread(self._layout.read)
            for event in list(self._known.events_to_reach(content)):
                self._known.apply(event)
                yield event


class _LayoutReader:
    """Reads the directory; one thread at a time.

    Remembers the tags of the last readable index, and which files are complete.
    """

    def __init__(self, directory: Path, metrics: IndexerMetrics) -> None:
        self._directory, self._metrics = directory, metrics
        self._tags: dict[str, TagTarget] = {}
        self._index_error = ""
        self._files: dict[Digest, tuple[_FileVersion, bool]] = {}

    def concerns(self, path: Path) -> bool:
        """Whether a change of `path` may change the content; temporary files do not."""
        match path.relative_to(self._directory).parts:
            case () | ("index.json",) | ("blobs",) | ("blobs", _):
                return True
            case ("blobs", _, _):
                return _digest(path) is not None
            case _:
                return False

    def read(self) -> StoreContent:
        """All blobs and tags. Raises `StoreUnavailable`."""
        if not self._directory.is_dir():
            raise StoreUnavailable(f"layout in {self._directory}", "there is no such directory")
        self._metrics.store_resyncs.inc()
        found = dict(self._blobs())
        self._files = {digest: (version, complete) for digest, (version, complete) in found.items()}
        blobs = {digest: version.size_bytes for digest, (version, complete) in found.items() if complete}
        return StoreContent(blobs, self._read_tags())

    def _blobs(self) -> Iterator[tuple[Digest, tuple[_FileVersion, bool]]]:
        for path in self._directory.glob("blobs/*/*"):
            if (digest := _digest(path)) is None:
                continue
            try:
                found = path.lstat()  # the registry does not follow symbolic links
                if stat.S_ISREG(found.st_mode):
                    version = _FileVersion(found.st_ino, found.st_size, found.st_mtime_ns)
                    yield digest, (version, self._is_complete(path, digest, version))
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("blob not readable, left out", path=str(path), reason=str(error))

    def _is_complete(self, path: Path, digest: Digest, version: _FileVersion) -> bool:
        before, complete = self._files.get(digest, (None, False))
        if before == version:
            return complete
        if time.time() - version.written_ns / 1e9 > _SETTLED_S:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm_of(digest)).hexdigest() == hex_of(digest)

    def _read_tags(self) -> dict[str, TagTarget]:
        """The tags of `index.json`; if it is broken or missing, it is being written, and the last tags stay.

        A tag keeps its time as long as it points at the same digest.
        """
        path = self._directory / "index.json"
        try:
            tags = dict(_tags(*_read_index(path)))
        except (OSError, ValueError) as error:
            reason = _reason(error)
            if reason != self._index_error:
                log.warning("index not readable, keeping the tags known", path=str(path), reason=reason)
            self._index_error = reason
            return self._tags
        self._index_error = ""
        for reference, tag in tags.items():
            if (known := self._tags.get(reference)) and known.digest == tag.digest:
                tags[reference] = known
        self._tags = tags
        return tags


def _read_index(path: Path) -> tuple[_LayoutIndex, int]:
    """The index, and when it was written (milliseconds since 1970). Raises `OSError` and `ValueError`."""
    with path.open("rb") as file:
        body = file.read(_MAX_INDEX_BYTES + 1)
        written_ns = os.fstat(file.fileno()).st_mtime_ns
    if len(body) > _MAX_INDEX_BYTES:
        raise ValueError(f"larger than {_MAX_INDEX_BYTES} bytes")
    return _LayoutIndex.model_validate_json(body), max(0, written_ns // 1_000_000)


def _tags(index: _LayoutIndex, tagged_at_ms: int) -> Iterator[tuple[str, TagTarget]]:
    """Without names that lack a registry: they mean nothing to other nodes."""
    for descriptor in index.manifests:
        named = [name for key in _NAMES if (name := (descriptor.annotations or {}).get(key))]
        if not named:
            continue
        try:
            reference = parse_tag_reference(named[0]).tag_reference
            digest = parse_digest(descriptor.digest)
        except (InvalidReference, InvalidDigest):
            continue
        if reference:
            yield reference, TagTarget(digest, tagged_at_ms)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
    return str(error)


def _digest(path: Path) -> Digest | None:
    try:
        return parse_digest(f"{path.parent.name}:{path.name}")
    except InvalidDigest:
        return None
