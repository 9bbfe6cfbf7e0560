"""The inline sender: which files it sends on the event loop, and which it leaves to a pump."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from heliograph_registry.adapters.http_server.inline_send import InlineSender
from heliograph_registry.adapters.http_server.transfer import FileTransfer
from heliograph_registry.mirror.errors import ClientGone, SourceFailed
from tests.integration.test_pump import connected, receive
from tests.support.descriptors import open_descriptors
from tests.support.page_cache import evict

DATA = os.urandom(1 << 20) * 10
LENGTH = len(DATA)


@pytest.fixture(autouse=True)
async def nothing_is_left_open() -> AsyncIterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path


class Ends:
    """An open file, and connections to send it over."""

    def __init__(self, stack: ExitStack, blob: Path) -> None:
        self._stack, self.file = stack, stack.enter_context(blob.open("r+b"))

    def transfer(self, count: int = LENGTH) -> tuple[FileTransfer, socket.socket]:
        server, client = self._stack.enter_context(connected())
        return FileTransfer(server.fileno(), self.file.fileno(), 0, count), client


@pytest.fixture
def ends(blob: Path, nothing_is_left_open: None) -> Iterator[Ends]:
    with ExitStack() as stack:
        yield Ends(stack, blob)


async def test_a_small_file_arrives(ends: Ends) -> None:
    transfer, client = ends.transfer()
    complete, received = await asyncio.gather(InlineSender().move(transfer), receive(client, LENGTH))
    assert complete
    assert received == DATA


async def test_a_transfer_to_a_client_that_does_not_read_is_left_to_a_pump(ends: Ends) -> None:
    transfer, _ = ends.transfer()
    assert not await InlineSender().move(transfer)
    assert 0 < transfer.moved < LENGTH
    transfer.close()


async def test_a_file_that_must_be_read_from_disk_is_left_to_a_pump(ends: Ends, blob: Path) -> None:
    evict(blob)
    transfer, _ = ends.transfer()
    assert not await InlineSender().move(transfer)
    assert transfer.moved == 0
    transfer.close()


async def test_at_most_eight_files_are_sent_inline_at_once(ends: Ends) -> None:
    inline = InlineSender()
    slow = [ends.transfer()[0] for _ in range(8)]
    moving = [asyncio.create_task(inline.move(transfer)) for transfer in slow]
    await asyncio.sleep(0)
    one_more, _ = ends.transfer()
    assert not await inline.move(one_more)
    assert one_more.moved == 0
    await asyncio.gather(*moving)
    another, client = ends.transfer()
    complete, received = await asyncio.gather(inline.move(another), receive(client, LENGTH))
    assert (complete, received) == (True, DATA)
    for transfer in [*slow, one_more]:
        transfer.close()


async def test_a_short_file_and_a_closed_client_raise_different_errors(ends: Ends) -> None:
    cut, client = ends.transfer()
    ends.file.truncate(LENGTH - 1000)
    moving = asyncio.create_task(InlineSender().move(cut))
    assert await receive(client, LENGTH - 1000) == DATA[:-1000]
    with pytest.raises(SourceFailed, match="shorter"):
        await moving
    left, client = ends.transfer(LENGTH - 1000)
    client.close()
    with pytest.raises(ClientGone):
        await InlineSender().move(left)


async def test_a_cancelled_transfer_leaks_no_descriptor(ends: Ends) -> None:
    transfer, _ = ends.transfer()
    moving = asyncio.create_task(InlineSender().move(transfer))
    await asyncio.sleep(0)
    moving.cancel()
    await asyncio.wait([moving])
    assert moving.cancelled()
