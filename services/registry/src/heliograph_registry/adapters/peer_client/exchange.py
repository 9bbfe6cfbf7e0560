"""One request to a peer and the head of its answer. h11 writes and parses the heads."""

import h11

from heliograph_registry.adapters.peer_client.answer_checks import header
from heliograph_registry.adapters.peer_client.connections import Connection, Connections
from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.errors import PeerFailed

MAX_HEAD_BYTES = 16 << 10


class ConnectionLost(PeerFailed):
    """A reused connection ended before the first byte of an answer."""


class PeerExchange:
    """Owns `connection`, and gives it back to `connections` if the whole answer has been read."""

    def __init__(self, peer: Peer, connection: Connection, connections: Connections) -> None:
        self._peer, self.connection, self._connections = peer, connection, connections
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._rest = b""
        self._closed = False
        self.response = h11.Response(status_code=500, headers=[])

    async def run(self, request: h11.Request) -> None:
        """Send the request and wait for `response`. Raises `PeerFailed` or `ConnectionLost`."""
        connection = self.connection
        received = False
        try:
            head = self._protocol.send(request) or b""
            await connection.send(head + (self._protocol.send(h11.EndOfMessage()) or b""))
            while not isinstance(event := self._protocol.next_event(), h11.Response):
                if event is h11.NEED_DATA:
                    data = await connection.receive(MAX_HEAD_BYTES)
                    received = received or bool(data)
                    self._protocol.receive_data(data)
        except (OSError, h11.ProtocolError) as error:
            kind = ConnectionLost if self.connection.reused and not received else PeerFailed
            raise kind(self._peer.node, str(error) or type(error).__name__) from error
        self.response = event
        self._rest = self._protocol.trailing_data[0]

    def take_rest(self, most: int) -> bytes:
        """The bytes of the body that came together with the head."""
        piece, self._rest = self._rest[:most], self._rest[most:]
        return piece

    def end_refused(self) -> None:
        """End an exchange whose answer is not used. Keeps the connection if the whole body has arrived."""
        length = header(self.response, b"content-length")
        self.end(unread=0 if length == str(len(self.take_rest(MAX_HEAD_BYTES))) else 1)

    def end(self, *, unread: int) -> None:
        """Give the connection back if no bytes of the answer are unread and the peer keeps it open."""
        last = self.response.http_version != b"1.1" or header(self.response, b"connection").lower() == "close"
        if self._closed or unread or self._rest or last:
            self.close()
            return
        self._closed = True
        self._connections.give_back(self.connection)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.connection.close()
