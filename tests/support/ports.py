"""Free TCP ports on the loopback addresses.

They are taken below the kernel's ephemeral range (32768 and up on Linux), at random: an outgoing
connection of some other test cannot take one between the choice and the bind.
"""

import os
import random
import socket

LOWEST, HIGHEST = 20_000, 32_767
SHARES = 8
"""pytest's workers (`gw0`, `gw1`, ...) pick from shares of their own, so that no two pick the same port."""

_random = random.SystemRandom()
_given: set[tuple[str, int]] = set()


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could bind `host:port` now; a port in TIME_WAIT counts as free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free on `host` and was not given out by this process before."""
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % SHARES
    for _ in range(1000):
        port = _random.randrange(LOWEST + share, HIGHEST + 1, SHARES)
        if (host, port) not in _given and is_free(port, host):
            _given.add((host, port))
            return port
    raise RuntimeError(f"no free port on {host} between {LOWEST} and {HIGHEST}")
