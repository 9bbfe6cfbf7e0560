"""Measures and limits from outside what a process sends over the network.

Root can duplicate another process's descriptors (`pidfd_getfd`, Linux 5.6). Options that are set on a
duplicate apply to the socket.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.process import Process

SO_MAX_PACING_RATE = 47  # include/uapi/asm-generic/socket.h
PIDFD_GETFD = 438  # include/uapi/asm-generic/unistd.h
BYTES_ACKED = 120  # the offset of tcpi_bytes_acked in struct tcp_info, include/uapi/linux/tcp.h
TCP_INFO_BYTES = 232
SEND_BUFFER_BYTES = 64 << 10  # the kernel doubles it

_libc = ctypes.CDLL(None, use_errno=True)


class Line:
    """All that `process` sends from its TCP port `port`."""

    def __init__(self, process: Process, port: int) -> None:
        self._process, self._port = process, port

    def limit(self, bytes_s: int) -> None:
        """Limit each connection, also later ones, to so many bytes a second, with a small send buffer."""
        for end in self._sockets():
            end.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, bytes_s)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def sent_bytes(self) -> dict[int, int]:
        """The bytes acknowledged on each open connection, by the port of its far end."""
        sent = {}
        for end in self._sockets():
            with suppress(OSError):  # the listening socket has no far end
                sent[end.getpeername()[1]] = _acknowledged_bytes(end)
        return sent

    def _sockets(self) -> Iterator[socket.socket]:
        """Every socket of the port, also the listening one. Each is closed after its iteration."""
        seen = set()
        with _opened(os.pidfd_open(self._process.pid)) as process:
            for link in Path(f"/proc/{self._process.pid}/fd").iterdir():
                try:
                    name = link.readlink().name
                except FileNotFoundError:  # closed meanwhile
                    continue
                if not name.startswith("socket:") or name in seen:
                    continue
                seen.add(name)
                if (number := _libc.syscall(PIDFD_GETFD, process, int(link.name), 0)) < 0:
                    continue
                with socket.socket(fileno=number) as end:
                    if end.family in {socket.AF_INET, socket.AF_INET6} and end.getsockname()[1] == self._port:
                        yield end


def _acknowledged_bytes(end: socket.socket) -> int:
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    acknowledged: int = struct.unpack_from("=Q", info, BYTES_ACKED)[0]
    return acknowledged


@contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
