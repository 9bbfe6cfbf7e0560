"""A real containerd daemon in a directory of its own, with nothing shared but the kernel.

It runs in its own mount namespace: what it has mounted goes away with it, even after a SIGKILL.
"""

import asyncio
import shutil
import socket
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from tests.support.cri import ImageService
from tests.support.images import ARCHITECTURE
from tests.support.machines import Release
from tests.support.process import Process
from tests.support.store import Store
from tests.support.waiting import eventually

# Unix socket addresses hold 108 bytes, and containerd adds ".ttrpc".
LONGEST_SOCKET = 100

# Plugins that would share /run/nri and /opt/containerd between daemons.
CONFIG = """\
version = {version}
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
"""
REGISTRY_1 = """\
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{config_path}"
"""
REGISTRY_2 = """\
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "{config_path}"
"""
NATIVE_1 = """\
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
"""
NATIVE_2 = """\
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "native"
[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = "linux/{architecture}"
  snapshotter = "native"
"""


class Containerd:
    """One node's daemon. `directory` must be short, `extra_config` is TOML added to the config.

    `config_path` replaces `certs_path` in the config.

    With an OTLP endpoint in its environment containerd 2 exports spans; it continues the trace of a CRI
    caller and passes it on to mirrors. 1.7 does neither.

    While it runs, `cri` is the kubelet's view of it and `store` its own API. Its log is
    `containerd.log` in `directory`, or `log`.
    """

    cri: ImageService
    store: Store

    def __init__(
        self,
        release: Release,
        directory: Path,
        *,
        log: Path | None = None,
        extra_config: str = "",
        snapshotter: str | None = None,
        config_path: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.release = release
        self.directory = directory
        self.socket = directory / "ctd.sock"
        self.certs_path = directory / "certs.d"
        self.content_path = directory / "root" / "io.containerd.content.v1.content"
        if len(str(self.socket)) > LONGEST_SOCKET:
            raise ValueError(f"too long for a socket: {self.socket}")
        self.certs_path.mkdir(parents=True, exist_ok=True)
        config = directory / "config.toml"
        native = (snapshotter or usable_snapshotter(directory)) == "native"
        text = _config(release, directory, config_path or str(self.certs_path), self.socket, native=native)
        config.write_text(text + extra_config)
        self.process = Process(
            f"containerd {release.label}",
            ["unshare", "--mount", "--", release.program, "--config", config],
            log or directory / "containerd.log",
            environment=environment,
        )
        self._channel: grpc.aio.Channel | None = None

    async def start(self, within: float = 30.0) -> None:
        """Return once the CRI image service answers."""
        self.process.start()
        await eventually(self._listens, within, self._unready)
        # An own pool: a shared one would remember that the last daemon could not be reached.
        self._channel = grpc.aio.insecure_channel(
            f"unix:{self.socket}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self.cri = ImageService(self._channel)
        self.store = Store(self._channel)
        await eventually(self._answers, within, self._unready)

    async def stop(self) -> None:
        await self._close()
        await self.process.stop()

    async def kill(self) -> None:
        """End it by SIGKILL; its directory stays as it was at that moment."""
        await self.process.kill()
        await self._close()

    async def restart(self) -> None:
        """Stop it if it runs, and start it on the same directory."""
        await self.stop()
        await self.start()

    def mirror(self, registry: str, *hosts: str, server: str | None = None) -> None:
        """Send pulls of `registry` to `hosts` (base URLs) in order, then to `server`.

        containerd reads this at every pull; no restart is needed.
        """
        folder = self.certs_path / registry
        folder.mkdir(exist_ok=True)
        lines = [f'server = "{server}"'] if server else []
        for host in hosts:
            lines += [f'[host."{host}"]', '  capabilities = ["pull", "resolve"]']
        (folder / "hosts.toml").write_text("\n".join(lines) + "\n")

    def blob_path(self, digest: str) -> Path:
        """Where the bytes of `digest` lie, there or not."""
        return self.content_path / "blobs" / digest.replace(":", "/")

    def blobs(self) -> set[str]:
        """The digests that lie in the content directory."""
        return {f"sha256:{path.name}" for path in (self.content_path / "blobs/sha256").glob("*")}

    def _listens(self) -> bool:
        self.process.check()
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    async def _answers(self) -> bool:
        self.process.check()
        try:
            await self.cri.images(within=5)
        except grpc.aio.AioRpcError:
            return False
        return True

    def _unready(self) -> str:
        return f"{self.process.name} is not ready; its log ends:\n{self.process.tail()}"

    async def _close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it and remove its directory."""
        await self.stop()
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)


def _config(release: Release, directory: Path, config_path: str, address: Path, *, native: bool) -> str:
    template = CONFIG + (REGISTRY_2 if release.modern else REGISTRY_1)
    if native:
        template += NATIVE_2 if release.modern else NATIVE_1
    return template.format(
        version=3 if release.modern else 2,
        directory=directory,
        config_path=config_path,
        socket=address,
        architecture=ARCHITECTURE,
    )


def usable_snapshotter(directory: Path) -> str:
    """Return overlayfs where the file system of `directory` can carry one, else native."""
    return _snapshotter_of(directory.stat().st_dev, str(directory))


@cache
def _snapshotter_of(device: int, directory: str) -> str:
    with tempfile.TemporaryDirectory(dir=directory) as probe:
        for name in ("lower", "upper", "work", "merged"):
            (Path(probe) / name).mkdir()
        layers = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
        mount = ["mount", "-t", "overlay", "overlay", "-o", layers, f"{probe}/merged"]
        mounted = subprocess.run(["unshare", "--mount", "--", *mount], check=False, capture_output=True)
    return "overlayfs" if mounted.returncode == 0 else "native"
