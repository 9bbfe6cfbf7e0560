"""Failures of a command; the text of each is printed for the user.

Failure
├── Unreachable      no usable answer from an address
├── PullFailed       the mirror did not serve the image, or served something else
├── NotAnswered      the router does not know what was asked for
├── UnusableFile     a file of credentials cannot be used
├── UnusableLayout   a directory is not an OCI image layout, or a file operation on it fails
├── NotUnderstood    a service refuses its settings
├── NotReady         a process of the local cluster does not become ready
└── ProcessEnded     a process of the local cluster exited
"""

from pathlib import Path


class Failure(Exception):
    """The command cannot do what was asked."""


class Unreachable(Failure):
    def __init__(self, what: str, address: str, reason: str) -> None:
        super().__init__(f"no {what} answers at {address}: {reason}")
        self.what, self.address, self.reason = what, address, reason


class PullFailed(Failure):
    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what, self.reason = what, reason


class NotAnswered(Failure):
    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key, self.reason = key, reason


class UnusableFile(Failure):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class UnusableLayout(Failure):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class NotUnderstood(Failure):
    """The text is the service's own."""


class NotReady(Failure):
    def __init__(self, name: str, reason: str, tail: str) -> None:
        super().__init__(f"{name} is not ready: {reason}{_shown(tail)}")
        self.name, self.reason, self.tail = name, reason, tail


class ProcessEnded(Failure):
    """`returncode` is negative if a signal ended it."""

    def __init__(self, name: str, returncode: int, tail: str) -> None:
        how = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
        super().__init__(f"{name} ended with {how}{_shown(tail)}")
        self.name, self.returncode, self.tail = name, returncode, tail


def _shown(tail: str) -> str:
    return f"; its log ends:\n{tail}" if tail else "; its log is empty"
