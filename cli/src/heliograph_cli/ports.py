"""Chooses free TCP ports of 127.0.0.1 for a local cluster; the same on each run unless they are taken.

They are below the kernel's range for outgoing connections. Another cluster on this machine could choose a
port before a child of this one listens on it. So each port is also claimed by an abstract Unix socket
(unix(7)), whose name is free again when this process ends.
"""

import socket
from types import TracebackType
from typing import Self

from heliograph_cli.errors import Failure

HOST = "127.0.0.1"
_LOWEST, _HIGHEST = 15_000, 19_999


class Ports:
    """Each call of `take` returns another port; all are released at the end."""

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []
        self._untried = iter(range(_LOWEST, _HIGHEST + 1))

    def take(self) -> int:
        """Raises `Failure` when none is left."""
        for port in self._untried:
            if _is_free(port) and self._claim(port):
                return port
        raise Failure(f"no free port on {HOST} between {_LOWEST} and {_HIGHEST}")

    def _claim(self, port: int) -> bool:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0heliograph/{HOST}:{port}")
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for claim in self._claims:
            claim.close()


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
