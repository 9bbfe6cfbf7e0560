"""Reads the content directory as the registry does: blob by blob."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from heliograph_indexer.domain.environment_checks import ContentDirectoryStatus

_TIMEOUT_S = 10.0


async def inspect_content_directory(path: Path, digests: Sequence[str]) -> ContentDirectoryStatus:
    """Try to read `path`, and count how many of `digests` lie in its `blobs`. Gives up after 10 s."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await asyncio.to_thread(_inspect, path, digests)
    except TimeoutError:
        return ContentDirectoryStatus(str(path), f"no answer within {_TIMEOUT_S:.0f} s")


def _inspect(path: Path, digests: Sequence[str]) -> ContentDirectoryStatus:
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
        return ContentDirectoryStatus(str(path), str(error.strerror), absent=True)
    except OSError as error:
        return ContentDirectoryStatus(str(path), error.strerror or str(error))
    return ContentDirectoryStatus(str(path), sampled=len(digests), found=found)
