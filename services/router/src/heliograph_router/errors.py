"""Errors of the router.

RouterError
├── MessageNotSent        a message could not be published on the bus
├── SnapshotUnavailable   a node sent no snapshot, or not all of it; it is asked again while one is needed
└── WaitAbandoned         a waiting call is to be repeated at another router: this one shuts down, or is deaf
"""


class RouterError(Exception):
    """The base of this service's errors."""


class MessageNotSent(RouterError):
    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"{subject}: {reason}")
        self.subject, self.reason = subject, reason


class SnapshotUnavailable(RouterError):
    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"{node}: {reason}")
        self.node, self.reason = node, reason


class WaitAbandoned(RouterError):
    pass
