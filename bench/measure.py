"""Clients that use little CPU, and the CPU (by the scheduler's clock) and memory that a server uses."""

import asyncio
import hashlib
import os
import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PIECE_BYTES = 4 << 20
_TIMEOUT_S = 120.0

CLIENTS = os.environ.get("CLIENTS", "reading")
_FLAGS = {"reading": 0, "dropping": socket.MSG_TRUNC}[
    CLIENTS
]  # tcp(7): the kernel drops the bytes instead of copying them


def fetch(port: int, path: str, *, check: bool = False) -> int:
    """GET over a new connection; returns the size of the body in bytes.

    Raises `ConnectionError` if the body is incomplete, and with `check` `ValueError` if it does not match
    the digest at the end of the path.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as client:
        return _get(client, path, check=check)


def fetch_many(port: int, paths: list[str]) -> int:
    """The same for all paths, over one connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as client:
        return sum(_get(client, path) for path in paths)


def first_byte_s(port: int, path: str) -> float:
    """Seconds from the request on an open connection to the first byte of its body."""
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        _, rest = _head(client, path)
        if not rest:
            client.recv(1)
        return time.perf_counter() - began


def _head(client: socket.socket, path: str) -> tuple[str, bytes]:
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        piece = client.recv(64 << 10)
        if not piece:
            raise ConnectionError(f"{path}: the connection ended within the head")
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    if " 200 " not in text[:20]:
        raise ConnectionError(f"{path}: {text}")
    return text, rest


def _get(client: socket.socket, path: str, *, check: bool = False) -> int:
    head, rest = _head(client, path)
    length = re.search(r"(?i)^content-length: (\d+)", head, re.MULTILINE)
    if length is None:
        raise ConnectionError(f"{path}: no length")
    hashed = hashlib.sha256(rest)
    left = int(length[1]) - len(rest)
    buffer = bytearray(_PIECE_BYTES)
    while left:
        count = client.recv_into(buffer, min(left, _PIECE_BYTES), 0 if check else _FLAGS)
        if not count:
            raise ConnectionError(f"{path}: {left} bytes missing")
        if check:
            hashed.update(memoryview(buffer)[:count])
        left -= count
    if check and not path.endswith(hashed.hexdigest()):
        raise ValueError(f"{path}: wrong bytes")
    return int(length[1])


async def at_once(calls: list[tuple[int, list[str]]]) -> tuple[float, int]:
    """Run clients in parallel, each with a port and paths. Returns seconds until all are done, and bytes."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(calls)) as threads:
        began = time.perf_counter()
        counts = await asyncio.gather(
            *(loop.run_in_executor(threads, fetch_many, port, paths) for port, paths in calls)
        )
        return time.perf_counter() - began, sum(counts)


def cpu_s(*pids: int) -> float:
    """Seconds that all threads of the processes have run (from schedstat, which has nanoseconds)."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def reset_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM


def peak_mib(pid: int) -> float:
    """Peak resident memory since `reset_peak`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


def socket_mib(pid: int) -> float:
    """The kernel's memory for the sockets of a process: received, queued and reserved (ss(8), skmem)."""
    listed = subprocess.run(["ss", "-tmnpOH"], check=True, capture_output=True, text=True).stdout
    total = 0
    for line in listed.splitlines():
        if f"pid={pid}," in line and (memory := re.search(r"skmem:\((.*?)\)", line)):
            parts = dict(re.findall(r"([a-z]+)(\d+)", memory[1]))
            total += int(parts["r"]) + int(parts["w"]) + int(parts["f"])
    return total / (1 << 20)


def requests_per_second(wrk: Path, port: int, path: str, *, connections: int, seconds: int) -> float:
    url = f"http://127.0.0.1:{port}{path}"
    command = [str(wrk), "-t1", f"-c{connections}", f"-d{seconds}", url]
    libraries = {"LD_LIBRARY_PATH": str(wrk.parent)}
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=libraries).stdout
    if "Non-2xx" in printed:
        raise ConnectionError(printed)
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", printed)[0])


def cores() -> int:
    return len(os.sched_getaffinity(0))
