"""Pumps on real sockets and files: which bytes arrive, which side is blamed for a stall, and no leaks."""

import asyncio
import fcntl
import os
import resource
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from heliograph_registry.adapters.http_server.pump import Pumps, open_pumps
from heliograph_registry.adapters.http_server.transfer import FileTransfer, SpliceTransfer, Transfer
from heliograph_registry.mirror.domain.stall import Side, StallDetector
from heliograph_registry.mirror.errors import ClientGone, SourceFailed
from tests.support.descriptors import open_descriptors
from tests.support.page_cache import evict, resident_bytes
from tests.support.waiting import eventually

DATA = os.urandom(1 << 20) * 20  # more than is sent without a pump
LENGTH = len(DATA)


@pytest.fixture
async def pumps() -> AsyncIterator[Pumps]:
    before, threads = open_descriptors(), threading.active_count()
    readers = ThreadPoolExecutor(2)
    with open_pumps(readers) as opened, readers:
        yield opened
    assert open_descriptors() == before
    assert threading.active_count() == threads


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection, non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        yield near, far


def patience(seconds: float) -> StallDetector:
    return StallDetector(0.0, source_s=seconds)


async def receive(client: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count and (
        piece := await asyncio.get_running_loop().sock_recv(client, min(1 << 20, count - len(received)))
    ):
        received += piece
    return bytes(received)


@pytest.mark.parametrize(("offset", "count"), [(0, LENGTH), (17, 1), (LENGTH - 5, 5), (3, LENGTH - 4)])
async def test_a_span_of_a_file_arrives(pumps: Pumps, blob: Path, offset: int, count: int) -> None:
    with connected() as (server, client), blob.open("rb") as file:
        transfer = FileTransfer(server.fileno(), file.fileno(), offset, count)
        _, received = await asyncio.gather(pumps.move(transfer), receive(client, count))
    assert received == DATA[offset : offset + count]
    assert transfer.moved == count


async def test_uncached_bytes_are_read_in_other_threads(blob: Path) -> None:
    asked: list[Any] = []

    class Readers(ThreadPoolExecutor):
        def submit(self, *args: Any, **more: Any) -> Future[Any]:
            asked.append(args)
            return super().submit(*args, **more)

    evict(blob)
    readers = Readers(1)
    with open_pumps(readers) as pumps, readers, connected() as (server, client), blob.open("rb") as file:
        transfer = FileTransfer(server.fileno(), file.fileno(), 0, LENGTH)
        _, received = await asyncio.gather(pumps.move(transfer), receive(client, LENGTH))
    assert received == DATA
    assert asked


async def test_uncached_bytes_are_read_in_small_pieces(blob: Path) -> None:
    """Else the first bytes of others would have to wait for them at a slow disk."""
    grew: list[int] = []

    class Readers(ThreadPoolExecutor):
        def submit(self, call: Any, /, *args: Any, **more: Any) -> Future[Any]:
            def measured() -> None:
                before = resident_bytes(blob)
                call(*args, **more)
                grew.append(resident_bytes(blob) - before)

            return super().submit(measured)

    evict(blob)
    readers = Readers(1)
    with open_pumps(readers) as pumps, readers, connected() as (server, client), blob.open("rb") as file:
        os.posix_fadvise(
            file.fileno(), 0, 0, os.POSIX_FADV_RANDOM
        )  # the kernel adds no read-ahead of its own
        transfer = FileTransfer(server.fileno(), file.fileno(), 0, LENGTH)
        _, received = await asyncio.gather(pumps.move(transfer), receive(client, LENGTH))
    assert received == DATA
    assert 0 < max(grew) <= 512 << 10


async def test_a_disk_that_does_not_answer_delays_no_other_transfer(blob: Path, tmp_path: Path) -> None:
    answers = threading.Event()

    class StuckReaders(ThreadPoolExecutor):
        def submit(self, call: Any, /, *args: Any, **more: Any) -> Future[Any]:
            return super().submit(lambda: (answers.wait(20), call(*args, **more))[1])

    readers = StuckReaders(8)
    with ExitStack() as stack:
        pumps, _ = stack.enter_context(open_pumps(readers)), stack.enter_context(readers)
        server, client = stack.enter_context(connected())
        warm_file, stuck = stack.enter_context(blob.open("rb")), []
        for number in range(8):
            cold = tmp_path / f"cold-{number}"
            cold.write_bytes(DATA)
            evict(cold)
            file, (waiting, _) = stack.enter_context(cold.open("rb")), stack.enter_context(connected())
            stuck.append(FileTransfer(waiting.fileno(), file.fileno(), 0, LENGTH))
        moving = [asyncio.create_task(pumps.move(transfer)) for transfer in stuck]
        await eventually(lambda: all(transfer.reading for transfer in stuck))
        warm = FileTransfer(server.fileno(), warm_file.fileno(), 0, LENGTH)
        async with asyncio.timeout(10):
            _, received = await asyncio.gather(pumps.move(warm), receive(client, LENGTH))
        assert received == DATA
        for task in moving:
            task.cancel()
        await asyncio.wait(moving)
        answers.set()


async def test_after_the_pumps_are_closed_transfers_end_and_nothing_else_is_written_to(blob: Path) -> None:
    """A server that stops cancels requests late; by then descriptors of the pumps may have other owners."""
    before, answers = open_descriptors(), threading.Event()
    with connected() as (server, _), blob.open("rb") as file, ThreadPoolExecutor(1) as readers:
        evict(blob)
        readers.submit(answers.wait, 20)
        with open_pumps(readers) as pumps:
            transfer = FileTransfer(server.fileno(), file.fileno(), 0, LENGTH)
            moving = asyncio.create_task(pumps.move(transfer))
            await eventually(lambda: transfer.reading)
        others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]
        moving.cancel()
        await asyncio.wait([moving])
        assert moving.cancelled()
        late = FileTransfer(server.fileno(), file.fileno(), 0, LENGTH)
        async with asyncio.timeout(20):
            with pytest.raises(ClientGone, match="stopping"):
                await pumps.move(late)
        answers.set()
        readers.shutdown()
        for other in others:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(other)
            os.close(other)
    assert open_descriptors() == before


async def test_a_truncated_file_and_a_closed_client_raise_different_errors(pumps: Pumps, blob: Path) -> None:
    with connected() as (server, client), blob.open("r+b") as file:
        file.truncate(LENGTH - 1000)
        cut = FileTransfer(server.fileno(), file.fileno(), 0, LENGTH)
        moving = asyncio.create_task(pumps.move(cut))
        assert await receive(client, LENGTH - 1000) == DATA[:-1000]
        with pytest.raises(SourceFailed, match="shorter"):
            await moving
        assert cut.moved == LENGTH - 1000
        client.close()
        with pytest.raises(ClientGone):
            await pumps.move(FileTransfer(server.fileno(), file.fileno(), 0, LENGTH - 1000))


async def test_bytes_are_spliced_from_socket_to_socket(pumps: Pumps) -> None:
    with connected() as (peer, source), connected() as (server, client):
        transfer = SpliceTransfer(server.fileno(), source.fileno(), LENGTH, stall=patience(5))
        sending = asyncio.get_running_loop().sock_sendall(peer, DATA + b"what comes after")
        _, _, received = await asyncio.gather(sending, pumps.move(transfer), receive(client, LENGTH))
        assert received == DATA
        assert source.recv(100) == b"what comes after"


async def test_pipes_take_half_of_what_a_user_without_capabilities_may_have(pumps: Pumps) -> None:
    """At `pipe-user-pages-soft` (64 MiB) the kernel gives a new pipe two pages."""
    with ExitStack() as stack:
        peers, transfers, moving = [], [], []

        def relays(count: int) -> None:
            for _ in range(count):
                (peer, source), (server, _) = (stack.enter_context(connected()) for _ in range(2))
                peers.append(peer)
                transfers.append(SpliceTransfer(server.fileno(), source.fileno(), LENGTH, stall=patience(30)))
                moving.append(asyncio.create_task(pumps.move(transfers[-1])))

        def pipes_of(size_bytes: int) -> bool:
            """A pipe is resized when bytes come."""
            assert all(peer.send(b"x") for peer in peers)
            return {pipe_bytes(transfer) for transfer in transfers} == {size_bytes}

        relays(8)
        await eventually(lambda: pipes_of(1 << 20))
        relays(102)
        await eventually(lambda: pipes_of(256 << 10))
        for task in moving[8:]:
            task.cancel()
        await asyncio.wait(moving[8:])
        del transfers[8:], peers[8:]
        await eventually(lambda: pipes_of(1 << 20))
        for task in moving[:8]:
            task.cancel()
        await asyncio.wait(moving[:8])


def pipe_bytes(transfer: SpliceTransfer) -> int:
    return fcntl.fcntl(transfer._in, fcntl.F_GETPIPE_SZ)


async def test_full_pipes_of_clients_that_do_not_read_count_as_well(pumps: Pumps) -> None:
    with ExitStack() as stack:
        transfers, moving, sending = [], [], []
        for _ in range(48):
            (peer, source), (server, _) = (stack.enter_context(connected()) for _ in range(2))
            transfer = SpliceTransfer(server.fileno(), source.fileno(), LENGTH, stall=patience(30))
            moving.append(asyncio.create_task(pumps.move(transfer)))
            sending.append(asyncio.create_task(asyncio.get_running_loop().sock_sendall(peer, DATA)))
            transfers.append(transfer)
            await eventually(lambda: transfers[-1].waiting_for is Side.CLIENT)
        sizes = [pipe_bytes(transfer) for transfer in transfers]
        assert sum(sizes) <= 33 << 20
        assert min(sizes) >= 64 << 10
        for task in (*moving, *sending):
            task.cancel()
        await asyncio.wait([*moving, *sending])


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_if_a_source_ends_early_the_client_has_all_bytes_that_came(pumps: Pumps, how: str) -> None:
    with connected() as (peer, source), connected() as (server, client):
        transfer = SpliceTransfer(server.fileno(), source.fileno(), LENGTH, stall=patience(5))
        moving = asyncio.create_task(pumps.move(transfer))
        await asyncio.get_running_loop().sock_sendall(peer, DATA[:100_000])
        assert await receive(client, 100_000) == DATA[:100_000]
        if how == "reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        with pytest.raises(SourceFailed):
            await moving
        assert transfer.moved == 100_000


async def test_a_silent_source_ends_a_transfer_and_a_slow_client_does_not(pumps: Pumps) -> None:
    with connected() as (peer, source), connected() as (server, client):
        transfer = SpliceTransfer(server.fileno(), source.fileno(), LENGTH, stall=patience(0.5))
        moving = asyncio.create_task(pumps.move(transfer))
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(peer, DATA[:-1]))
        done, _ = await asyncio.wait([moving], timeout=2)  # four times the stall, nothing read
        assert not done
        assert await receive(client, LENGTH - 1) == DATA[:-1]
        await sending
        async with asyncio.timeout(10):
            with pytest.raises(SourceFailed, match="next to nothing"):
                await moving
        assert transfer.moved == LENGTH - 1


async def test_after_a_cancellation_no_more_bytes_are_moved(pumps: Pumps, blob: Path) -> None:
    with connected() as (server, client), blob.open("rb") as file:
        transfer = FileTransfer(server.fileno(), file.fileno(), 0, LENGTH)
        moving = asyncio.create_task(pumps.move(transfer))
        await eventually(lambda: transfer.moved > 0)
        moving.cancel()
        await asyncio.wait([moving])
        moved = transfer.moved
        server.shutdown(socket.SHUT_WR)
        assert await receive(client, LENGTH) == DATA[:moved]
        assert moved < LENGTH


async def test_transfers_take_turns(pumps: Pumps, blob: Path) -> None:
    """With more transfers than pumps, none ends before all have started."""
    pairs = [connected() for _ in range(12)]
    ends = [pair.__enter__() for pair in pairs]
    try:
        with blob.open("rb") as file:
            transfers = [FileTransfer(server.fileno(), file.fileno(), 0, LENGTH) for server, _ in ends]
            moving = [asyncio.create_task(pumps.move(transfer)) for transfer in transfers]
            await eventually(lambda: all(transfer.moved for transfer in transfers))
            received = await asyncio.gather(*(receive(client, LENGTH) for _, client in ends))
            await asyncio.gather(*moving)
        assert all(each == DATA for each in received)
    finally:
        for pair in pairs:
            pair.__exit__(None, None, None)


async def test_an_unexpected_error_ends_its_transfer_and_no_other(pumps: Pumps, blob: Path) -> None:
    class Broken(Transfer):
        def turn(self) -> bool:
            raise ZeroDivisionError

    with connected() as (server, client), blob.open("rb") as file:
        for _ in range(4):
            with pytest.raises(ZeroDivisionError):
                await pumps.move(Broken(server.fileno(), 1, stall=patience(1)))
        transfer = FileTransfer(server.fileno(), file.fileno(), 0, 1000)
        await pumps.move(transfer)
        assert await receive(client, 1000) == DATA[:1000]


@contextmanager
def few_descriptors(spare: int) -> Iterator[None]:
    """Let only `spare` more descriptors be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.eventfd(0))
        for _ in range(spare):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind", ["file", "splice"])
async def test_a_transfer_that_cannot_start_for_lack_of_descriptors_leaks_none(blob: Path, kind: str) -> None:
    with connected() as (server, _), connected() as (near, _), blob.open("rb") as file:
        begin: Callable[[], Transfer] = partial(FileTransfer, server.fileno(), file.fileno(), 0, 1)
        if kind == "splice":
            begin = partial(SpliceTransfer, server.fileno(), near.fileno(), 1, stall=patience(1))
        before = open_descriptors()
        for spare in range(4 if kind == "splice" else 2):
            with few_descriptors(spare), pytest.raises(OSError, match="Too many open files"):
                begin()
            assert open_descriptors() == before


async def test_a_connections_queue_limit_is_reset_after_a_transfer(blob: Path) -> None:
    """Clients reuse connections, and the next answer may be the only one."""
    with connected() as (server, client), blob.open("rb") as file:
        readers = ThreadPoolExecutor(1)
        with open_pumps(readers) as pumps, readers, ExitStack() as stack:
            crowd = []
            for _ in range(60):
                far, _near = stack.enter_context(connected())
                transfer = FileTransfer(far.fileno(), file.fileno(), 0, LENGTH)
                crowd.append(asyncio.create_task(pumps.move(transfer)))
            moving = pumps.move(FileTransfer(server.fileno(), file.fileno(), 0, LENGTH))
            received, _ = await asyncio.gather(receive(client, LENGTH), moving)
            for one in crowd:
                one.cancel()
            await asyncio.gather(*crowd, return_exceptions=True)
        assert received == DATA
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > 256 << 10  # more than a share
