"""File operations that are durable when they return.

A crash happens before or after such an operation, never in the middle, except for `write`: files that matter
are therefore written under another name and then renamed. All methods raise `OSError`.
"""

import ctypes
import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CANNOT_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM}


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

    def exchange(self, first: Path, second: Path) -> bool:
        """Let two files trade places in one step; False if the file system cannot do that."""
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "renameat2"):
            return False
        names = os.fsencode(first), os.fsencode(second)
        if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
            error = ctypes.get_errno()
            if error in _CANNOT_EXCHANGE:
                return False
            raise OSError(error, os.strerror(error), str(second))
        for folder in {first.parent, second.parent}:
            _sync(folder)
        return True

    def copy(self, source: Path, target: Path) -> None:
        """With mode and times, and where that is allowed with owner, group and extended attributes."""
        found = source.stat()
        self.write(target, source.read_bytes(), 0o600)
        with suppress(PermissionError):
            os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
        with suppress(OSError):
            for name in os.listxattr(source):
                os.setxattr(target, name, os.getxattr(source, name))
        target.chmod(stat.S_IMODE(found.st_mode))
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))

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
