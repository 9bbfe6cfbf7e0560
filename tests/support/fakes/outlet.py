"""A client in memory: the port `Outlet` as the contract suite proves it to behave."""

from heliograph_registry.mirror.domain.ranges import Span
from heliograph_registry.mirror.errors import ClientGone, SourceFailed
from heliograph_registry.mirror.ports import LocalBlob, PeerStream

_PIECE_BYTES = 64 << 10


class MemoryOutlet:
    """Keeps what it is sent in `received`."""

    def __init__(self, *, leaves_after: int | None = None) -> None:
        """`leaves_after`: the client goes away once it has received that many bytes."""
        self.received = bytearray()
        self._leaves_after = leaves_after

    @property
    def sent_bytes(self) -> int:
        return len(self.received)

    async def write(self, piece: bytes) -> None:
        if self._leaves_after is not None and len(self.received) >= self._leaves_after:
            raise ClientGone("the client left")
        self.received += piece

    async def send_file(self, blob: LocalBlob, span: Span) -> None:
        position = span.first
        while position <= span.last:
            try:
                piece = await blob.read(position, min(_PIECE_BYTES, span.last + 1 - position))
            except OSError as error:
                raise SourceFailed(str(error)) from error
            if not piece:
                raise SourceFailed("the file is shorter than it was")
            await self.write(piece)
            position += len(piece)

    async def relay(self, stream: PeerStream) -> None:
        while piece := await stream.read(_PIECE_BYTES):
            await self.write(piece)
