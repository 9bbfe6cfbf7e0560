"""What bodies expect of the outlet that they are sent to: in memory, and an ASGI response that copies.

The server's zero-copy extensions need real sockets: see `tests/integration/test_pump.py`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from heliograph_registry.adapters.http_server.outlet import CopyBudget, ResponseOutlet
from heliograph_registry.adapters.http_server.record import RequestRecord
from heliograph_registry.mirror.domain.ranges import ByteRange, Span
from heliograph_registry.mirror.errors import ClientGone, PeerFailed, SourceFailed
from heliograph_registry.mirror.ports import Outlet, PeerStream
from tests.support.fakes.cluster import blob
from tests.support.fakes.content import MemoryBlob
from tests.support.fakes.outlet import MemoryOutlet
from tests.support.fakes.peers import MemoryPeer, MemoryPeers

DATA = bytes(range(256)) * 4000
SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "path": "/v2/",
    "raw_path": b"/v2/",
    "query_string": b"",
    "scheme": "http",
    "headers": [],
    "extensions": {},
}


@dataclass
class Client:
    """`received` gives what has come through the outlet."""

    outlet: Outlet
    received: Callable[[], bytes]


Clients = Callable[[int | None], Client]


@pytest.fixture(params=["memory", "copying"])
def client(request: pytest.FixtureRequest) -> Clients:
    """A new client; it leaves once it has received as many bytes as it is told, if any."""
    return in_memory if request.param == "memory" else copying


def in_memory(leaves_after: int | None = None) -> Client:
    outlet = MemoryOutlet(leaves_after=leaves_after)
    return Client(outlet, lambda: bytes(outlet.received))


def copying(leaves_after: int | None = None) -> Client:
    received = bytearray()

    async def send(message: dict[str, Any]) -> None:
        if leaves_after is not None and len(received) >= leaves_after:
            raise ClientGone("disconnected")
        received.extend(message["body"])

    outlet = ResponseOutlet(SCOPE, send, 2 * len(DATA), RequestRecord(SCOPE), CopyBudget())
    return Client(outlet, lambda: bytes(received))


async def stream(*, breaks_after: int | None = None) -> PeerStream:
    registry = MemoryPeer("a", "a:5000", breaks_after=[] if breaks_after is None else [breaks_after])
    target = blob(registry.put(DATA))
    return await MemoryPeers([registry]).fetch(registry.peer, target, ByteRange(1000, None))


async def test_what_is_written_arrives_in_order(client: Clients) -> None:
    to = client(None)
    for piece in (b"one", b"two", b"three"):
        await to.outlet.write(piece)
    assert (to.received(), to.outlet.sent_bytes) == (b"onetwothree", 11)


@pytest.mark.parametrize("span", [Span(0, len(DATA) - 1, len(DATA)), Span(700_000, 700_099, len(DATA))])
async def test_the_span_of_a_file_arrives(client: Clients, span: Span) -> None:
    to = client(None)
    await to.outlet.send_file(MemoryBlob(DATA), span)
    assert to.received() == DATA[span.first : span.last + 1]
    assert to.outlet.sent_bytes == span.count


async def test_a_file_that_became_shorter_has_failed_after_what_was_there(client: Clients) -> None:
    to = client(None)
    short = MemoryBlob(DATA[:300_000], size_bytes=len(DATA))
    with pytest.raises(SourceFailed):
        await to.outlet.send_file(short, Span(1000, len(DATA) - 1, len(DATA)))
    assert to.received() == DATA[1000:300_000]
    assert to.outlet.sent_bytes == 299_000


async def test_a_file_that_cannot_be_read_has_failed(client: Clients) -> None:
    to = client(None)
    with pytest.raises(SourceFailed):
        await to.outlet.send_file(MemoryBlob(DATA, breaks_at=0), Span(0, 9, len(DATA)))
    assert to.outlet.sent_bytes == 0


async def test_a_peers_stream_arrives(client: Clients) -> None:
    to = client(None)
    await to.outlet.relay(await stream())
    assert to.received() == DATA[1000:]
    assert to.outlet.sent_bytes == len(DATA) - 1000


async def test_a_stream_that_breaks_off_has_failed_after_what_came(client: Clients) -> None:
    to = client(None)
    with pytest.raises(PeerFailed):
        await to.outlet.relay(await stream(breaks_after=100_000))
    assert to.received() == DATA[1000:101_000]
    assert to.outlet.sent_bytes == 100_000


async def send_bytes(outlet: Outlet) -> None:
    await outlet.write(b"more")


async def send_file(outlet: Outlet) -> None:
    await outlet.send_file(MemoryBlob(DATA), Span(0, len(DATA) - 1, len(DATA)))


async def send_stream(outlet: Outlet) -> None:
    await outlet.relay(await stream())


@pytest.mark.parametrize("sending", [send_bytes, send_file, send_stream])
async def test_a_client_that_leaves_ends_it(
    client: Clients, sending: Callable[[Outlet], Awaitable[None]]
) -> None:
    to = client(10)
    await to.outlet.write(DATA[:10])
    with pytest.raises(ClientGone):
        await sending(to.outlet)
    assert to.outlet.sent_bytes == 10
