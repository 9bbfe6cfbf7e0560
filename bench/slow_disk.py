"""Cold manifests while cold blobs are being served, from a disk that delivers 100 MB/s."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import measure
from bench.report import Result, judged, result
from bench.servers import MIB, BlobDirectory, benching

_DISK_BYTES_S = 100_000_000
_READ_AHEAD_SECTORS = 256  # 128 KiB, the kernel's default
_BLOBS, _BLOB_MIB, _MANIFESTS = 30, 20, 40
_BLKIO, _CGROUP2 = Path("/sys/fs/cgroup/blkio"), Path("/sys/fs/cgroup")


async def slow_disk(directory: Path, runs: int) -> list[Result]:
    """The disk is a file system on a loop device. Each round mounts it anew, so no page is cached.

    The registry has its default time limit for the first byte.
    """
    refused, waited, speed = [], [], []
    with loop_device(directory / "image") as device:
        mounted = directory / "disk"
        mounted.mkdir()
        with mounting(device, mounted):
            content = BlobDirectory(mounted / "content")
            blobs = [content.blob(_BLOB_MIB * MIB) for _ in range(_BLOBS)]
            manifests = [content.manifest(2 << 10) for _ in range(_MANIFESTS)]
        for _ in range(max(1, runs // 5)):
            with mounting(device, mounted), cgroup(device) as slow:
                async with benching(directory) as bench:
                    port, registry = await bench.registry("node", content)
                    slow.write_text(str(registry.pid))
                    began = time.perf_counter()
                    serving = asyncio.create_task(measure.at_once([(port, [path]) for path in blobs]))
                    await asyncio.sleep(1)
                    for path in manifests:
                        asked = time.perf_counter()
                        try:
                            await asyncio.to_thread(measure.fetch, port, path)
                        except ConnectionError:
                            refused.append(path)
                        waited.append((time.perf_counter() - asked) * 1000)
                    _, count = await serving
                    speed.append(count / (time.perf_counter() - began) / _DISK_BYTES_S)
    share = len(refused) / len(waited)
    return [
        judged("slow-disk manifests refused", share, share, share, len(waited), "share", "<= 0"),
        result("slow-disk manifests", waited, "ms"),
        result("slow-disk throughput / disk", speed, "ratio", ">= 0.9"),
    ]


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def loop_device(image: Path) -> Iterator[str]:
    """A new ext4 on a loop device; yields the device."""
    _run("truncate", "--size=1G", image)
    _run("mkfs.ext4", "-q", "-F", image)
    device = _run("losetup", "--show", "--find", "--direct-io=on", image)
    try:
        _run("blockdev", "--setra", str(_READ_AHEAD_SECTORS), device)
        yield device
    finally:
        _run("losetup", "--detach", device)


@contextmanager
def mounting(device: str, target: Path) -> Iterator[None]:
    _run("mount", device, target)
    try:
        yield
    finally:
        _run("umount", target)


@contextmanager
def cgroup(device: str) -> Iterator[Path]:
    """A group whose processes read the device at the disk's speed; yields the file that takes their IDs."""
    number = Path(device).stat().st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"
    group = (_BLKIO if _BLKIO.exists() else _CGROUP2) / f"heliograph-bench-{os.getpid()}"
    group.mkdir()
    try:
        if _BLKIO.exists():
            (group / "blkio.throttle.read_bps_device").write_text(f"{name} {_DISK_BYTES_S}")
        else:
            (_CGROUP2 / "cgroup.subtree_control").write_text("+io")
            (group / "io.max").write_text(f"{name} rbps={_DISK_BYTES_S}")
        yield group / "cgroup.procs"
    finally:
        group.rmdir()
