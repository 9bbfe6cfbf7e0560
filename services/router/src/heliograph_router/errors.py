"""What can go wrong while the index is kept.

RouterError
├── BusUnavailable        a message was not sent
├── SnapshotUnavailable   a node did not say, or not in full, what it holds; asked again while it is needed
└── Stopping              a call that waits has to wait at another router
"""


class RouterError(Exception):
    """The base of this service's errors."""


class BusUnavailable(RouterError):
    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"{subject}: {reason}")
        self.subject, self.reason = subject, reason


class SnapshotUnavailable(RouterError):
    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"{node}: {reason}")
        self.node, self.reason = node, reason


class Stopping(RouterError):
    def __init__(self) -> None:
        super().__init__("this router stops")
