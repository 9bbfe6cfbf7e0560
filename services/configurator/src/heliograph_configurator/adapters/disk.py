"""File operations that are durable when they return.

A crash happens before or after such an operation, never in the middle, except for `write`: files that matter
are therefore written under another name and then renamed. All methods raise `OSError`.
"""

import errno
import os
from pathlib import Path


class Disk:
    def write(self, path: Path, content: bytes, mode: int) -> None:
        """Create or overwrite a file; a symbolic link in its place is not followed."""
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Both paths are on one file system; a file at `target` is replaced."""
        source.replace(target)
        _sync(target.parent)

    def remove(self, path: Path) -> None:
        path.unlink()
        _sync(path.parent)

    def make_folder(self, path: Path, mode: int) -> None:
        path.mkdir()
        path.chmod(mode)
        _sync(path.parent)

    def remove_if_empty(self, path: Path) -> None:
        """Does nothing if the folder is absent, holds anything, or is a mount point."""
        try:
            path.rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}:
                raise
        else:
            _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
