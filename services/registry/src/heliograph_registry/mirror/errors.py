"""The errors that can occur while a request is answered.

RegistryError
├── NotServed            the mirror cannot serve it: 404, and containerd asks its next host
├── Busy                 all transfer slots are taken: 503, and containerd asks its next host
├── RangeNotSatisfiable  416, with the blob's size
├── ResolverUnavailable  no router answered, which does not mean that no node holds it
├── PeerFailed           this peer did not deliver; another one may
│   ├── ManifestTooLarge it has a manifest that is too large to be passed on
│   └── PeerSlow         this peer delivers far less than others do; its stream can still be read
├── SourceFailed         a file or a socket gave no more bytes during a transfer
│   └── SourceSlow       a socket gives far fewer bytes than others do; the transfer can go on
├── ClientGone           the client disconnected, or accepted no bytes for too long
└── StreamBroken         the response has started and no source is left: the connection ends with a FIN
"""

from heliograph_registry.mirror.domain.reason import Reason

SLOW, STALLED = "sends far less than others do", "sent next to nothing for too long"


class RegistryError(Exception):
    """The base of the mirror's errors."""


class NotServed(RegistryError):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Busy(RegistryError):
    def __init__(self, most: int) -> None:
        super().__init__(f"{most} transfers are running")


class RangeNotSatisfiable(RegistryError):
    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"the range is outside the blob's {size_bytes} bytes")
        self.size_bytes = size_bytes


class ResolverUnavailable(RegistryError):
    """`asked` is false if no router was asked, because one had just failed."""

    def __init__(self, reason: str, *, asked: bool = True) -> None:
        super().__init__(f"no router answered: {reason}")
        self.reason, self.asked = reason, asked


class PeerFailed(RegistryError):
    """`healthy` if the peer works, but lacks the content or is busy.

    `status` is the HTTP status of its answer if the peer failed by that, else 0.
    """

    def __init__(self, peer: str, reason: str, *, healthy: bool = False, status: int = 0) -> None:
        super().__init__(f"{peer}: {reason}")
        self.peer, self.reason, self.healthy, self.status = peer, reason, healthy, status


class ManifestTooLarge(PeerFailed):
    """Not the peer's fault."""

    def __init__(self, peer: str, *, status: int = 0) -> None:
        super().__init__(peer, "has a manifest larger than 4 MiB", healthy=True, status=status)


class PeerSlow(PeerFailed):
    def __init__(self, peer: str) -> None:
        super().__init__(peer, SLOW)


class SourceFailed(RegistryError):
    """`code` is the error number (errno), 0 if there is none."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


class SourceSlow(SourceFailed):
    def __init__(self) -> None:
        super().__init__(SLOW)


class ClientGone(RegistryError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class StreamBroken(RegistryError):
    def __init__(self, sent_bytes: int, missing_bytes: int, reason: str) -> None:
        super().__init__(f"ended after {sent_bytes} bytes with {missing_bytes} missing: {reason}")
        self.sent_bytes, self.missing_bytes, self.reason = sent_bytes, missing_bytes, reason
