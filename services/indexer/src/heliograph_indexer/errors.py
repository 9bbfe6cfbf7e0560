"""What can go wrong while a node is announced.

IndexerError
├── StoreUnavailable   the content store does not answer; tried again
├── BusUnavailable     a message was not sent; the next heartbeat lets routers find out
├── StateUnwritable    the registry of this node was not told; tried again
├── ConfigUnreadable   containerd's config.toml is not to be had; the doctor goes without
└── CallRefused        containerd answered a call of the doctor with an error
"""

from pathlib import Path


class IndexerError(Exception):
    """The base of this service's errors."""


class StoreUnavailable(IndexerError):
    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"{store}: {reason}")
        self.store, self.reason = store, reason


class BusUnavailable(IndexerError):
    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"{subject}: {reason}")
        self.subject, self.reason = subject, reason


class StateUnwritable(IndexerError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class ConfigUnreadable(IndexerError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class CallRefused(IndexerError):
    """`code` is gRPC's name for the status."""

    def __init__(self, call: str, code: str, reason: str) -> None:
        super().__init__(f"{call}: {code}: {reason}")
        self.call, self.code, self.reason = call, code, reason
