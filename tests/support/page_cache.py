"""The kernel's page cache, emptied of one file, so that reading it needs the disk."""

import ctypes
import mmap
import os
from pathlib import Path

from tests.support.waiting import eventually_sync

_libc = ctypes.CDLL(None, use_errno=True)


def evict(path: Path) -> None:
    """Drop all pages of a file. The kernel skips pages that it is still working on, so ask until it has."""
    descriptor = os.open(path, os.O_RDONLY)

    def evicted() -> bool:
        os.fsync(descriptor)  # what is not yet written cannot be dropped
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return not resident_bytes(path)

    try:
        eventually_sync(evicted, 30, lambda: f"{resident_bytes(path)} bytes of {path} stay in the page cache")
    finally:
        os.close(descriptor)


def resident_bytes(path: Path) -> int:
    """How much of a file is in the page cache, in whole pages (mincore(2))."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as mapped:
        pages = (ctypes.c_ubyte * (-(-len(mapped) // mmap.PAGESIZE)))()
        start = ctypes.c_char.from_buffer(mapped)
        failed = _libc.mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), pages)
        del start  # or the mapping cannot be closed
        if failed:
            raise OSError(ctypes.get_errno(), "mincore", str(path))
        return sum(page & 1 for page in pages) * mmap.PAGESIZE
