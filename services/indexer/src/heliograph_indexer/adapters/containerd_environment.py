"""The proxies in containerd's environment, where this process may see containerd's.

The kernel names the process that listens on containerd's socket (SO_PEERCRED, unix(7)), as a process of
this PID namespace. In a container with a namespace of its own that is nobody, and nothing more is tried:
seeing the node's processes would take privileges that the indexer does without.
"""

import asyncio
import socket
import struct
from pathlib import Path

from heliograph_indexer.domain.proxies import ProxySettings
from heliograph_indexer.errors import EnvironmentUnreadable

_TIMEOUT_S = 2.0
_MOST_BYTES = 1 << 20
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


async def read_proxies(socket_path: Path) -> ProxySettings:
    """Raises `EnvironmentUnreadable`."""
    return await asyncio.to_thread(_read, socket_path)


def _read(socket_path: Path) -> ProxySettings:
    try:
        pid = _listener(socket_path)
        if not pid:
            raise EnvironmentUnreadable("containerd's process is not visible from this container")
        with Path(f"/proc/{pid}/environ").open("rb") as file:
            body = file.read(_MOST_BYTES)
    except OSError as error:
        raise EnvironmentUnreadable(error.strerror or type(error).__name__) from error
    pairs = (line.partition("=") for line in body.decode(errors="replace").split("\0"))
    return ProxySettings.of({name: value for name, _, value in pairs})


def _listener(socket_path: Path) -> int:
    """The process id of who listens on the socket; 0 if it is not in this PID namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_TIMEOUT_S)
        client.connect(str(socket_path))
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    return pid
