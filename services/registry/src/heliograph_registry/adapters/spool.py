"""A directory for blobs that are hashed before they are sent. Its files have no names."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

from heliograph_registry.adapters.filesystem import FileBlob, Readers
from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_shared.digest import Digest, algorithm_of, hex_of

_MOST_BYTES = 4 << 30


class FileSpool:
    """Holds at most 4 GiB at once, and at most half of the free space of its disk."""

    def __init__(self, directory: Path, readers: Readers, metrics: RegistryMetrics) -> None:
        self._directory, self._readers = directory, readers
        self._right, self._wrong = (metrics.verified.labels(outcome) for outcome in ("verified", "mismatch"))
        self._held_bytes = 0

    async def verified(
        self, digest: Digest, size_bytes: int, pieces: AsyncIterator[bytes]
    ) -> FileBlob | None:
        self._reserve(size_bytes)

        def release() -> None:
            self._held_bytes -= size_bytes

        with ExitStack() as kept:
            kept.callback(release)
            with tempfile.TemporaryFile(dir=self._directory, buffering=0) as file:
                if await self._hash(algorithm_of(digest), pieces, file.fileno()) != hex_of(digest):
                    self._wrong.inc()
                    return None
                self._right.inc()
                blob = FileBlob(os.dup(file.fileno()), size_bytes, self._readers, closed=release)
            kept.pop_all()
            return blob

    async def _hash(self, algorithm: str, pieces: AsyncIterator[bytes], descriptor: int) -> str:
        hashed = hashlib.new(algorithm)

        def keep(piece: bytes) -> None:
            hashed.update(piece)
            left = memoryview(piece)
            while left:
                left = left[os.write(descriptor, left) :]

        loop = asyncio.get_running_loop()
        async for piece in pieces:
            keeping = loop.run_in_executor(self._readers.bodies, keep, piece)
            try:
                await asyncio.shield(keeping)
            except asyncio.CancelledError:
                await asyncio.wait([keeping])  # the thread still uses the descriptor
                raise
        return hashed.hexdigest()

    def _reserve(self, size_bytes: int) -> None:
        status = os.statvfs(self._directory)
        if self._held_bytes + size_bytes > min(_MOST_BYTES, status.f_bavail * status.f_frsize // 2):
            raise OSError(f"no room to hash a blob of {size_bytes} bytes")
        self._held_bytes += size_bytes
