"""The content directory, looked at as the registry reads it: blob by blob."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from heliograph_indexer.domain.surroundings import FolderAnswer

_TIMEOUT_S = 10.0


async def look_into(path: Path, digests: Sequence[str]) -> FolderAnswer:
    """Whether `blobs` can be read there, and how many of `digests` it holds."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await asyncio.to_thread(_look_into, path, digests)
    except TimeoutError:
        return FolderAnswer(str(path), f"no answer within {_TIMEOUT_S:.0f} s")


def _look_into(path: Path, digests: Sequence[str]) -> FolderAnswer:
    try:
        os.scandir(path).close()
        found = 0
        for digest in digests:
            algorithm, _, encoded = digest.partition(":")
            blob = path / "blobs" / algorithm / encoded
            if blob.exists():
                blob.open("rb").close()
                found += 1
    except FileNotFoundError as error:
        return FolderAnswer(str(path), str(error.strerror), absent=True)
    except OSError as error:
        return FolderAnswer(str(path), error.strerror or str(error))
    return FolderAnswer(str(path), asked=len(digests), found=found)
