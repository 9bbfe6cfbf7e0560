"""A file system whose disk fails from some byte of a file on: ext4 on a loop device over a truncated file."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.page_cache import evict

_DISK_BYTES = 64 << 20


@contextmanager
def failing_disk(directory: Path, name: str, data: bytes, good_bytes: int) -> Iterator[Path]:
    """The folder that the disk is mounted at. Reads of its file `name` end with EIO after `good_bytes`.

    `good_bytes` must be a multiple of 4096. Skips the test where loop devices cannot be mounted.
    """
    image, mounted = directory / "disk", directory / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    _run("mkfs.ext4", "-q", "-O", "^has_journal", "-b", "4096", str(image))
    with _mounted(image, mounted):
        path = mounted / name
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, len(data))  # in one piece
            file.write(data)
            os.fsync(file.fileno())
        first_block = int(_run("filefrag", "-v", str(path)).split("\n")[3].split(":")[2].split(".")[0])
    with _mounted(image, mounted):
        os.truncate(image, first_block * 4096 + good_bytes)
        evict(path)  # it may still be in memory if another mount namespace had a copy of the first mount
        with path.open("rb") as file, suppress(OSError):
            os.pread(file.fileno(), 1, len(data) - 1)
            pytest.skip("the disk does not fail")
        yield mounted


@contextmanager
def _mounted(image: Path, at: Path) -> Iterator[None]:
    _run("mount", "-o", "loop", str(image), str(at))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(at))  # descriptors may still be open


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"loop devices cannot be mounted: {error}")
