"""A spool in memory: the port `Spool` as the contract suite proves it to behave."""

import errno
from collections.abc import AsyncIterator

from heliograph_shared.digest import Digest, algorithm_of, digest_of
from tests.support.fakes.content import MemoryBlob


class MemorySpool:
    """`held_bytes` are reserved just now: by blobs that are being hashed, and by those not closed yet."""

    def __init__(self, room_bytes: int = 4 << 30) -> None:
        self.room_bytes, self.held_bytes = room_bytes, 0

    async def verified(
        self, digest: Digest, size_bytes: int, pieces: AsyncIterator[bytes]
    ) -> MemoryBlob | None:
        if self.held_bytes + size_bytes > self.room_bytes:
            raise OSError(errno.ENOSPC, "no room")
        self.held_bytes += size_bytes

        def release() -> None:
            self.held_bytes -= size_bytes

        blob = None
        try:
            data = b"".join([piece async for piece in pieces])
            if digest_of(data, algorithm_of(digest)) == digest:
                blob = MemoryBlob(data, size_bytes=size_bytes, closed=release)
        finally:
            if blob is None:
                release()
        return blob
