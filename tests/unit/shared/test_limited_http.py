"""What a client may take up: real sockets against a server with small limits."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from heliograph_shared.address import Address
from heliograph_shared.http import serve_http
from heliograph_shared.limited_http import Limits, limited
from heliograph_shared.runtime import bind
from heliograph_shared.tls import TlsFiles, client_contexts, http_server_context
from tests.support.certificates import Authority
from tests.support.waiting import eventually

QUICK = Limits(connections=4, head_bytes=2000, headers=10, head_s=0.4, idle_s=0.4, stall_s=0.4)
BODY = bytes(64 << 20)
PIECE, PIECES = bytes(256 << 10), 160

Connect = Callable[..., Any]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/form":
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/pieces":
        length = [(b"content-length", str(len(PIECE) * PIECES).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        for left in reversed(range(PIECES)):
            await send({"type": "http.response.body", "body": PIECE, "more_body": left > 0})
        return
    body = BODY if scope["path"] == "/large" else b"hello"
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(limits: Limits, **options: Any) -> AsyncIterator[Connect]:
    bound = bind(Address("127.0.0.1", 0))
    host, port = bound.getsockname()
    clients: list[asyncio.StreamWriter] = []

    async def connect(**options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 16, **options)
        clients.append(writer)
        return reader, writer

    async with serve_http(answer, bound, limits=limits, shutdown_s=1, **options):
        yield connect
        for client in clients:
            client.transport.abort()
            with suppress(ConnectionError):
                await client.wait_closed()


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes = b"") -> int:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
    return await status(reader)


async def status(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(10):
        line, *headers = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        for header in headers:
            if header.lower().startswith(b"content-length: "):
                await reader.readexactly(int(header.partition(b": ")[2]))
    return int(line.split()[1])


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes, which has to be soon."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def count(limit: str) -> float:
    return limited.labels(limit)._value.get()  # type: ignore[no-any-return]


async def test_many_usual_requests_over_one_connection_meet_no_limit() -> None:
    async with serving(QUICK) as connect:
        reader, writer = await connect()
        for _ in range(50):
            assert await get(reader, writer, b"Accept: x\r\n" * 8) == 200
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + bytes(5000))
        assert await status(reader) == 200
        assert await get(reader, writer) == 200


@pytest.mark.parametrize("seed", range(5))
async def test_heads_within_the_limits_are_answered_however_they_are_cut(seed: int) -> None:
    """Several at once, as pipelining clients send them, and bodies between them."""
    chance = random.Random(seed)
    requests = []
    for _ in range(40):
        head = b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"y" * chance.randrange(1900) + b"\r\n"
        body = b"z" * chance.choice([0, 0, 5, 5000])
        requests.append(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    async with serving(QUICK) as connect:
        reader, writer = await connect()
        statuses = asyncio.create_task(status_of_each(reader, len(requests)))
        left = b"".join(requests)
        while left:
            size = chance.choice([1, 7, 500, 5000, 20_000])
            writer.write(left[:size])
            await writer.drain()
            await asyncio.sleep(0)
            left = left[size:]
        assert await statuses == [200] * len(requests)


async def status_of_each(reader: asyncio.StreamReader, count: int) -> list[int]:
    return [await status(reader) for _ in range(count)]


@pytest.mark.parametrize(
    "head",
    [b"A: " + b"x" * 2500 + b"\r\n", b"A: b\r\n" * 20, b"A: b\r\n" * 500],
    ids=["one long", "too many", "both"],
)
async def test_a_head_too_large_is_refused(head: bytes) -> None:
    before = count("head")
    async with serving(QUICK) as connect:
        reader, writer = await connect()
        assert await get(reader, writer) == 200
        assert await get(reader, writer, head) == 431
        assert await ended(reader) == b""
    assert count("head") == before + 1


@pytest.mark.parametrize(
    "begin", [b"GET / HTTP/1.1\r\nA: ", b"GET /", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3]
)
async def test_a_head_without_end_is_cut_off(begin: bytes) -> None:
    async with serving(QUICK) as connect:
        _, writer = await connect()
        writer.write(begin)
        with pytest.raises(ConnectionError):  # noqa: PT012 - whichever write notices
            async with asyncio.timeout(10):
                while True:
                    writer.write(b"x" * 1000)
                    await writer.drain()
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize("asked_before", [False, True])
async def test_a_head_that_drips_is_given_up(asked_before: bool) -> None:  # noqa: FBT001
    before = count("slow-head")
    async with serving(QUICK) as connect:
        reader, writer = await connect()
        if asked_before:
            assert await get(reader, writer) == 200
        dripping = asyncio.create_task(drip(writer))
        began = time.monotonic()
        assert await ended(reader) == b""
        assert 0.3 < time.monotonic() - began < 5
        dripping.cancel()
    assert count("slow-head") == before + 1


async def drip(writer: asyncio.StreamWriter) -> None:
    for byte in b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def test_who_asks_nothing_is_let_go_and_who_asked_is_kept() -> None:
    async with serving(QUICK, keep_alive_s=60) as connect:
        silent, (reader, writer) = await connect(), await connect()
        assert await get(reader, writer) == 200
        assert await ended(silent[0]) == b""
        assert await get(reader, writer) == 200


@pytest.mark.parametrize("late", [b"x", b"hello"], ids=["a part", "all"])
async def test_who_is_silent_after_a_body_that_came_late_is_let_go(late: bytes) -> None:
    """The answer is out before it, and the time until the next request begins then."""
    async with serving(QUICK, keep_alive_s=1) as connect:
        reader, writer = await connect()
        for _ in range(2):
            assert await get(reader, writer, b"Content-Length: 5\r\n") == 200
            writer.write(b"later")
        assert await get(reader, writer, b"Content-Length: 5\r\n") == 200
        writer.write(late)
        assert await ended(reader) == b""


async def test_who_never_ends_a_body_that_is_waited_for_is_let_go() -> None:
    before = count("slow-body")
    async with serving(QUICK) as connect:
        forms = [await connect() for _ in range(QUICK.connections)]
        for _reader, writer in forms:
            writer.write(b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nx")
        for reader, _writer in forms:
            assert await ended(reader) == b""
        assert count("slow-body") == before + len(forms)
        assert await get(*await connect()) == 200


async def test_who_takes_nothing_of_an_answer_is_dropped() -> None:
    before = count("stalled")
    async with serving(QUICK) as connect:
        reader, writer = await connect()
        writer.transport.pause_reading()
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await eventually(lambda: count("stalled") == before + 1)
        writer.transport.resume_reading()
        assert len(await ended(reader)) < len(BODY)


async def test_who_takes_it_slowly_gets_it_all() -> None:
    async with serving(QUICK) as connect:
        reader, writer = await connect()
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received, began = 0, time.monotonic()
        while piece := await reader.read(1 << 20):
            received += len(piece)
            await asyncio.sleep(max(0.0, began + received / (40 << 20) - time.monotonic()))
        assert received > len(BODY)


async def test_who_takes_it_slowly_over_tls_gets_it_all(tmp_path: Path) -> None:
    """There the transport's own count of what is unsent leaves out all but the last piece."""
    identity = Authority().issue(tmp_path)
    files = TlsFiles(identity.certificate, identity.key, identity.ca)
    tls: dict[str, Any] = {"ssl": client_contexts(files).current(), "server_hostname": "localhost"}
    async with serving(QUICK, tls=http_server_context(files, verify_clients=False)) as connect:
        reader, writer = await connect(**tls)
        writer.write(b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        received, began = 0, time.monotonic()
        while received < len(PIECE) * PIECES:
            piece = await reader.read(1 << 16)
            assert piece, f"cut off after {received} bytes"
            received += len(piece)
            await asyncio.sleep(max(0.0, began + received / (12 << 20) - time.monotonic()))


async def test_the_longest_idle_makes_room() -> None:
    patient = Limits(connections=4)
    async with serving(patient, keep_alive_s=60) as connect:
        clients = []
        for _ in range(4):
            clients.append(await connect())
            assert await get(*clients[-1]) == 200
        assert await get(*clients[0]) == 200  # the second is the longest idle now
        assert await get(*(await connect())) == 200
        assert await ended(clients[1][0]) == b""
        for at in (0, 2, 3):
            assert await get(*clients[at]) == 200


async def test_a_handshake_that_does_not_come_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("heliograph_shared.http._HANDSHAKE_TIMEOUT_S", 0.4)
    identity = Authority().issue(tmp_path)
    context = http_server_context(TlsFiles(identity.certificate, identity.key), verify_clients=False)
    async with serving(QUICK, tls=context) as connect:
        reader, writer = await connect()
        writer.write(b"\x16\x03\x01")  # of a ClientHello
        assert await ended(reader) == b""


async def test_clients_that_never_say_goodbye_make_room_over_tls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("heliograph_shared.limited_http._LINGER_S", 0.0)
    identity = Authority().issue(tmp_path)
    files = TlsFiles(identity.certificate, identity.key, identity.ca)
    trusting = client_contexts(files).current()
    context = http_server_context(files, verify_clients=False)
    async with serving(Limits(connections=4), tls=context) as connect:
        silent = [await connect(ssl=trusting, server_hostname="localhost") for _ in range(12)]
        for _, writer in silent:
            writer.transport.pause_reading()
        assert await get(*(await connect(ssl=trusting, server_hostname="localhost"))) == 200


async def test_when_all_are_busy_a_further_one_is_turned_away() -> None:
    async with serving(Limits(connections=4)) as connect:
        clients = [await connect() for _ in range(4)]
        for reader, writer in clients:
            writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.pause_reading()
        assert await ended((await connect())[0]) == b""
        reader, writer = clients[0]
        writer.transport.resume_reading()
        assert await reader.readexactly(len(BODY)) == BODY
        assert await get(*(await connect())) == 200  # whose answer is complete is idle
