"""What can go wrong while a request is answered.

RegistryError
├── NotServed            nobody here can serve it: 404, containerd goes to the next host
├── Busy                 as many transfers as there may be: 503, containerd goes to the next host, too
├── RangeNotSatisfiable  416, with the blob's size
├── ResolverUnavailable  no router answered, which is not "nobody has it"
├── PeerFailed           this peer did not deliver; the next one may
├── SourceFailed         a file or a socket gave no more bytes, within a transfer
├── ClientGone           the client went away, or took nothing for too long
└── StreamBroken         bytes have been sent and no source is left: end with a FIN
"""

from heliograph_registry.mirror.domain.reason import Reason


class RegistryError(Exception):
    """The base of this service's errors."""


class NotServed(RegistryError):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Busy(RegistryError):
    def __init__(self, most: int) -> None:
        super().__init__(f"{most} transfers are under way")


class RangeNotSatisfiable(RegistryError):
    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"the range lies outside of {size_bytes} bytes")
        self.size_bytes = size_bytes


class ResolverUnavailable(RegistryError):
    """`asked` is false when the last failure is so recent that nobody was asked this time."""

    def __init__(self, reason: str, *, asked: bool = True) -> None:
        super().__init__(f"no router answered: {reason}")
        self.reason, self.asked = reason, asked


class PeerFailed(RegistryError):
    """`healthy` when the peer is well and only has not got it, or has too much to do just now.

    `status` is that of its answer if this is what was wrong with it, else 0.
    """

    def __init__(self, peer: str, reason: str, *, healthy: bool = False, status: int = 0) -> None:
        super().__init__(f"{peer}: {reason}")
        self.peer, self.reason, self.healthy, self.status = peer, reason, healthy, status


class SourceFailed(RegistryError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ClientGone(RegistryError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class StreamBroken(RegistryError):
    def __init__(self, sent_bytes: int, missing_bytes: int, reason: str) -> None:
        super().__init__(f"ended after {sent_bytes} bytes with {missing_bytes} missing: {reason}")
        self.sent_bytes, self.missing_bytes, self.reason = sent_bytes, missing_bytes, reason
