"""An OCI image layout directory as a content store (image-spec v1.1, image-layout.md).

Every change below the directory leads to a full look at it, in a thread, compared with the one before. The
layout has no commit: a program may write straight into `blobs/`. A file that was written to lately is
therefore announced only once its bytes are those of its name; older ones are taken at their word.
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

from heliograph_indexer.adapters.directory import DirectoryWatch, watch_directory
from heliograph_indexer.adapters.metrics import store_resyncs
from heliograph_indexer.domain.content import Content, Holdings, StoreEvent, Tag
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


class _Index(BaseModel):
    model_config = ConfigDict(extra="ignore")

    manifests: list[_Descriptor]


@dataclass(frozen=True, slots=True)
class _Mark:
    """A file that has the same one was not written to."""

    inode: int
    size_bytes: int
    written_ns: int


class OciLayoutStore:
    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._layout = _Layout(self._directory)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator["OciLayoutWatch"]:
        async with watch_directory(self._directory) as changes:
            yield OciLayoutWatch(self._layout, await asyncio.to_thread(self._layout.read), changes)

    async def downloading(self) -> Sequence[Digest]:
        """A layout does not tell what is being written to it."""
        return ()


class OciLayoutWatch:
    def __init__(self, layout: "_Layout", content: Content, directory: DirectoryWatch) -> None:
        self.content = content
        self._layout, self._directory = layout, directory
        self._known = Holdings(dict(content.blobs), dict(content.tags))

    async def changes(self) -> AsyncIterator[StoreEvent]:
        async for paths in self._directory.changes():
            if paths and not any(map(self._layout.concerns, paths)):
                continue
            content = await asyncio.to_thread(self._layout.read)
            for event in list(self._known.events_towards(content)):
                self._known.apply(event)
                yield event


class _Layout:
    """Reads the directory. Not to be used by two threads at once.

    Keeps the tags of the last index that could be read, and which files it found to be whole or not.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tags: dict[str, Tag] = {}
        self._trouble = ""
        self._seen: dict[Digest, tuple[_Mark, bool]] = {}

    def concerns(self, path: Path) -> bool:
        """Whether a change of `path` may be one of the content: not where drafts are written."""
        match path.relative_to(self._directory).parts:
            case () | ("index.json",) | ("blobs",) | ("blobs", _):
                return True
            case ("blobs", _, _):
                return _digest(path) is not None
            case _:
                return False

    def read(self) -> Content:
        """All blobs and tags. Raises `StoreUnavailable`."""
        if not self._directory.is_dir():
            raise StoreUnavailable(f"layout in {self._directory}", "there is no such directory")
        store_resyncs.inc()
        found = dict(self._blobs())
        self._seen = {digest: (mark, whole) for digest, (mark, whole) in found.items()}
        blobs = {digest: mark.size_bytes for digest, (mark, whole) in found.items() if whole}
        return Content(blobs, self._read_tags())

    def _blobs(self) -> Iterator[tuple[Digest, tuple[_Mark, bool]]]:
        for path in self._directory.glob("blobs/*/*"):
            if (digest := _digest(path)) is None:
                continue
            try:
                found = path.lstat()  # a registry follows no links out of its store
                if stat.S_ISREG(found.st_mode):
                    mark = _Mark(found.st_ino, found.st_size, found.st_mtime_ns)
                    yield digest, (mark, self._is_whole(path, digest, mark))
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("blob not readable, left out", path=str(path), reason=str(error))

    def _is_whole(self, path: Path, digest: Digest, mark: _Mark) -> bool:
        before, whole = self._seen.get(digest, (None, False))
        if before == mark:
            return whole
        if time.time() - mark.written_ns / 1e9 > _SETTLED_S:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm_of(digest)).hexdigest() == hex_of(digest)

    def _read_tags(self) -> dict[str, Tag]:
        """A broken or missing index is one that is being written: what it said last holds.

        A tag keeps its time as long as it points at the same digest, whatever else the index is told.
        """
        path = self._directory / "index.json"
        try:
            tags = dict(_tags(*_read_index(path)))
        except (OSError, ValueError) as error:
            reason = _reason(error)
            if reason != self._trouble:
                log.warning("index not readable, keeping the tags known", path=str(path), reason=reason)
            self._trouble = reason
            return self._tags
        self._trouble = ""
        for reference, tag in tags.items():
            if (known := self._tags.get(reference)) and known.digest == tag.digest:
                tags[reference] = known
        self._tags = tags
        return tags


def _read_index(path: Path) -> tuple[_Index, int]:
    """What it says, and since when (milliseconds). Raises `OSError` and `ValueError`."""
    with path.open("rb") as file:
        body = file.read(_MAX_INDEX_BYTES + 1)
        written_ns = os.fstat(file.fileno()).st_mtime_ns
    if len(body) > _MAX_INDEX_BYTES:
        raise ValueError(f"larger than {_MAX_INDEX_BYTES} bytes")
    return _Index.model_validate_json(body), max(0, written_ns // 1_000_000)


def _tags(index: _Index, tagged_at_ms: int) -> Iterator[tuple[str, Tag]]:
    """Names without a registry say nothing to other nodes, and are left out."""
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
            yield reference, Tag(digest, tagged_at_ms)


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
