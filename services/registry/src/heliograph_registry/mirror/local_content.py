"""This node's blobs, as far as they can be served.

The files are containerd's. A file may be gone though containerd lists it, or fail when it is read. Then the
node serves as if it did not have the blob, and its indexer withdraws it (ADR 30).
"""

import errno
import time
from collections.abc import Callable

import structlog

from heliograph_registry.mirror.domain.unservable import UnservableBlobs
from heliograph_registry.mirror.ports import Content, LocalBlob
from heliograph_shared.digest import Digest

log = structlog.get_logger()

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN}


class LocalContent:
    """The port `Content` without blobs that could not be read in the last 10 minutes."""

    def __init__(self, content: Content, clock: Callable[[], float] = time.monotonic) -> None:
        self._content, self._unservable = content, UnservableBlobs(clock)

    async def open(self, digest: Digest) -> LocalBlob | None:
        return None if self._unservable.is_unreadable(digest) else await self._content.open(digest)

    def lacks(self, digest: Digest) -> bool:
        return self._unservable.is_unreadable(digest) or self._content.lacks(digest)

    def unreadable(self, digest: Digest, reason: str, code: int = 0) -> None:
        """A read of the blob failed: do not open it for a while. A failing disk may block every read.

        `code` is the errno. If this process lacks descriptors or memory, the blob is not to blame.
        """
        if code in _OUT_OF_RESOURCES:
            log.warning("local blob was not read", digest=digest, reason=reason)
            return
        log.warning("local blob is unreadable, it is not served for 10 minutes", digest=digest, reason=reason)
        self._unservable.add_unreadable(digest)

    def refused_to_peer(self, digest: Digest) -> None:
        """A peer asked for the blob, most likely because this node announces it, and got a 404."""
        self._unservable.add_refused(digest, absent=self._content.lacks(digest))

    def unservable(self) -> list[Digest]:
        """Blobs that this node should not announce."""
        return self._unservable.all(self._content.lacks)
