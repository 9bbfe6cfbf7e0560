"""A disk that is slow, or a file system that cannot say what is in memory: what it delays, and what not."""

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from heliograph_registry.adapters.filesystem import FileContent, Readers
from heliograph_registry.adapters.http_server.inline_send import InlineSender
from heliograph_registry.adapters.http_server.pump import open_pumps
from heliograph_registry.adapters.http_server.transfer import FileTransfer
from heliograph_shared.digest import Digest, digest_of, hex_of
from tests.integration.test_pump import connected, receive
from tests.support.page_cache import evict
from tests.support.waiting import eventually

DATA = os.urandom(1 << 20) * 3
LENGTH = len(DATA)


class BusyReaders(ThreadPoolExecutor):
    """Threads that wait for a disk until `answers` is set."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.answers, self.asked = threading.Event(), 0

    def submit(self, call: Any, /, *args: Any, **more: Any) -> Future[Any]:
        self.asked += 1
        return super().submit(lambda: (self.answers.wait(30), call(*args, **more))[1])


def put(directory: Path, data: bytes) -> tuple[Digest, Path]:
    path = directory / "blobs" / "sha256" / hex_of(digest_of(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest_of(data), path


async def test_a_first_byte_does_not_wait_for_the_rest_of_other_blobs(tmp_path: Path) -> None:
    digest, path = put(tmp_path, DATA)
    bodies = BusyReaders(1)
    with ThreadPoolExecutor(1) as first_bytes, bodies:
        content = FileContent(tmp_path, Readers(first_bytes, bodies))
        blobs = [await content.open(digest) for _ in range(3)]
        rest = []
        for blob in blobs:
            assert blob is not None
            evict(path)
            async with asyncio.timeout(20):
                assert await blob.read(0, 100) == DATA[:100]
            evict(path)
            rest.append(asyncio.ensure_future(blob.read(100, LENGTH)))
            await eventually(lambda: bodies.asked == len(rest))
        bodies.answers.set()
        assert await asyncio.gather(*rest) == [DATA[100:]] * 3
        for blob in blobs:
            assert blob is not None
            blob.close()


@pytest.fixture
def without_nowait(tmp_path: Path) -> Iterator[Path]:
    """A directory whose file system does not know RWF_NOWAIT, like ZFS and NFS."""
    if os.geteuid():
        pytest.skip("only root can mount")
    mounted = tmp_path / "ramfs"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "ramfs", mounted], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)


async def test_where_nobody_can_say_what_is_in_memory_threads_read_it(without_nowait: Path) -> None:
    _, path = put(without_nowait, DATA)
    readers = BusyReaders(1)
    with ExitStack() as stack:
        pumps, _ = stack.enter_context(open_pumps(readers)), stack.enter_context(readers)
        file = stack.enter_context(path.open("rb"))
        with pytest.raises(OSError, match="not supported"):
            os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        server, client = stack.enter_context(connected())
        on_the_loop = FileTransfer(server.fileno(), file.fileno(), 0, LENGTH)
        assert not await InlineSender().move(on_the_loop)
        assert on_the_loop.moved == 0
        on_the_loop.close()
        transfer = FileTransfer(server.fileno(), file.fileno(), 5, LENGTH - 6)
        moving = asyncio.create_task(pumps.move(transfer))
        await eventually(lambda: transfer.reading)
        assert transfer.moved == 0
        readers.answers.set()
        assert await receive(client, LENGTH - 6) == DATA[5:-1]
        await moving
        assert readers.asked >= LENGTH // (512 << 10)
