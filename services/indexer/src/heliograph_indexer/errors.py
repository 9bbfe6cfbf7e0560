"""The indexer's errors.

IndexerError
├── StoreUnavailable       the content store does not answer; the indexer tries again
├── PublishFailed          a message was dropped; the next heartbeat lets routers find out
├── StateUnwritable        the state file for this node's registry was not written; the indexer tries again
├── ConfigUnreadable       containerd's config.toml cannot be read; the doctor goes on without it
├── EnvironmentUnreadable  the environment of containerd's process cannot be read; the doctor goes on
└── CallRefused            containerd answered a call of the doctor with an error
"""

from pathlib import Path


class IndexerError(Exception):
    """The base of this service's errors."""


class StoreUnavailable(IndexerError):
    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"{store}: {reason}")
        self.store, self.reason = store, reason


class PublishFailed(IndexerError):
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


class EnvironmentUnreadable(IndexerError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CallRefused(IndexerError):
    """`code` is the name of the gRPC status code."""

    def __init__(self, call: str, code: str, reason: str) -> None:
        super().__init__(f"{call}: {code}: {reason}")
        self.call, self.code, self.reason = call, code, reason
