"""What the registry expects of its own node's content, in memory and in a directory alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from heliograph_registry.adapters.filesystem import FileContent, open_readers
from heliograph_registry.mirror.ports import Content
from heliograph_shared.digest import Digest, digest_of, hex_of
from tests.support.fakes.content import MemoryContent

DATA = bytes(range(256)) * 1000
ABSENT = digest_of(b"absent")


class Store(Protocol):
    """Changes what the node holds, as containerd does."""

    @property
    def content(self) -> Content: ...

    def put(self, data: bytes) -> Digest: ...

    def remove(self, digest: Digest) -> None: ...


class ContentInMemory:
    def __init__(self) -> None:
        self.content = MemoryContent()

    def put(self, data: bytes) -> Digest:
        return self.content.put(data)

    def remove(self, digest: Digest) -> None:
        self.content.remove(digest)


class ContentInDirectory:
    def __init__(self, root: Path, content: Content) -> None:
        self.content = content
        self._blobs = root / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)

    def put(self, data: bytes) -> Digest:
        digest = digest_of(data)
        (self._blobs / hex_of(digest)).write_bytes(data)
        return digest

    def remove(self, digest: Digest) -> None:
        (self._blobs / hex_of(digest)).unlink()


@pytest.fixture(params=["memory", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield ContentInMemory()
        return
    with open_readers() as readers:
        yield ContentInDirectory(tmp_path, FileContent(tmp_path, readers))


async def test_a_blob_is_read_from_any_offset(store: Store) -> None:
    blob = await store.content.open(store.put(DATA))
    assert blob is not None
    assert blob.size_bytes == len(DATA)
    assert await blob.read(0, len(DATA)) == DATA
    assert await blob.read(1000, 10) == DATA[1000:1010]
    blob.close()


async def test_a_read_beyond_the_end_is_short_and_then_empty(store: Store) -> None:
    blob = await store.content.open(store.put(b"12345"))
    assert blob is not None
    assert await blob.read(3, 10) == b"45"
    assert await blob.read(5, 10) == b""
    blob.close()


async def test_an_empty_blob_is_there(store: Store) -> None:
    digest = store.put(b"")
    assert not store.content.lacks(digest)
    blob = await store.content.open(digest)
    assert blob is not None
    assert blob.size_bytes == 0
    blob.close()


async def test_what_was_never_added_is_lacking(store: Store) -> None:
    assert store.content.lacks(ABSENT)
    assert await store.content.open(ABSENT) is None


async def test_what_is_added_and_removed_is_seen_at_once(store: Store) -> None:
    assert store.content.lacks(digest_of(DATA))
    digest = store.put(DATA)
    assert not store.content.lacks(digest)
    store.remove(digest)
    assert store.content.lacks(digest)
    assert await store.content.open(digest) is None


async def test_an_open_blob_stays_readable_when_it_is_removed(store: Store) -> None:
    digest = store.put(DATA)
    blob = await store.content.open(digest)
    assert blob is not None
    store.remove(digest)
    assert await blob.read(0, len(DATA)) == DATA
    blob.close()


async def test_closing_twice_is_fine_and_a_closed_blob_cannot_be_read(store: Store) -> None:
    blob = await store.content.open(store.put(DATA))
    assert blob is not None
    blob.close()
    blob.close()
    with pytest.raises(OSError, match=r"."):
        await blob.read(0, 1)
