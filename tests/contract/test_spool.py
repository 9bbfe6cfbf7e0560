"""What the registry expects of its spool, in memory and in a directory alike."""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from heliograph_registry.adapters.filesystem import open_readers
from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.spool import FileSpool
from heliograph_registry.mirror.errors import PeerFailed
from heliograph_registry.mirror.ports import Spool
from heliograph_shared.digest import digest_of
from tests.support.fakes.spool import MemorySpool

DATA = bytes(range(256)) * 1000
DIGEST = digest_of(DATA)


@dataclass
class Room:
    """A spool, and how many bytes it may hold at once."""

    spool: Spool
    bytes: int


@pytest.fixture(params=["memory", "directory"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    if request.param == "memory":
        yield Room(MemorySpool(), 4 << 30)
        return
    disk = os.statvfs(tmp_path)
    with open_readers() as readers:
        spool = FileSpool(tmp_path, readers, RegistryMetrics())
        yield Room(spool, min(4 << 30, disk.f_bavail * disk.f_frsize // 2))


async def pieces(data: bytes, *, breaks: bool = False) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 10_000):
        yield data[start : start + 10_000]
    if breaks:
        raise PeerFailed("a", "connection reset")


async def test_right_bytes_become_a_blob(room: Room) -> None:
    blob = await room.spool.verified(DIGEST, len(DATA), pieces(DATA))
    assert blob is not None
    assert blob.size_bytes == len(DATA)
    assert await blob.read(0, len(DATA)) == DATA
    assert await blob.read(500, 7) == DATA[500:507]
    blob.close()


async def test_sha512_is_known_too(room: Room) -> None:
    blob = await room.spool.verified(digest_of(DATA, "sha512"), len(DATA), pieces(DATA))
    assert blob is not None
    blob.close()


@pytest.mark.parametrize("wrong", [DATA[:-1], DATA[:-1] + b"!", b""])
async def test_wrong_bytes_become_nothing(room: Room, wrong: bytes) -> None:
    assert await room.spool.verified(DIGEST, len(DATA), pieces(wrong)) is None


async def test_a_failure_of_the_source_is_passed_on(room: Room) -> None:
    with pytest.raises(PeerFailed):
        await room.spool.verified(DIGEST, len(DATA), pieces(DATA[:20_000], breaks=True))


async def test_there_is_no_room_for_more_than_it_may_hold(room: Room) -> None:
    with pytest.raises(OSError, match="room"):
        await room.spool.verified(DIGEST, 2 * room.bytes, pieces(DATA))


async def test_room_is_held_until_the_blob_is_closed(room: Room) -> None:
    most_bytes = room.bytes * 6 // 10
    blob = await room.spool.verified(DIGEST, most_bytes, pieces(DATA))
    assert blob is not None
    with pytest.raises(OSError, match="room"):
        await room.spool.verified(DIGEST, most_bytes, pieces(DATA))
    blob.close()
    blob = await room.spool.verified(DIGEST, most_bytes, pieces(DATA))
    assert blob is not None
    blob.close()


async def test_room_is_free_again_after_wrong_bytes_and_failures(room: Room) -> None:
    most_bytes = room.bytes * 6 // 10
    assert await room.spool.verified(DIGEST, most_bytes, pieces(b"wrong")) is None
    with pytest.raises(PeerFailed):
        await room.spool.verified(DIGEST, most_bytes, pieces(DATA, breaks=True))
    blob = await room.spool.verified(DIGEST, most_bytes, pieces(DATA))
    assert blob is not None
    blob.close()
