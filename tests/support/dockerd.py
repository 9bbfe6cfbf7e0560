"""A real Docker daemon in a directory of its own, which pulls images and runs nothing."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.containerd import Containerd
from tests.support.machines import client
from tests.support.process import Process
from tests.support.waiting import eventually

# Docker has only one folder for hosts.toml, so the daemon gets an /etc of its own to write to.
_WITH_OWN_ETC = (
    'mount -t overlay -o "lowerdir=/etc,upperdir=$0/etc,workdir=$0/work" overlay /etc && exec "$@"'
)


class PullFailed(Exception):
    """What the daemon says of a pull."""


@dataclass
class Dockerd:
    """`directory` must be short, for its socket. With `containerd_store` it stores images in `containerd`."""

    directory: Path
    containerd: Containerd
    mirror: str = ""
    containerd_store: bool = False

    def __post_init__(self) -> None:
        self.certs_path = self.directory / "etc" / "docker" / "certs.d"
        self.certs_path.mkdir(parents=True)
        (self.directory / "work").mkdir()
        config = self.directory / "daemon.json"
        config.write_text(json.dumps(self._config()))
        wrapped: list[str | Path] = ["unshare", "--mount", "--", "sh", "-c", _WITH_OWN_ETC, self.directory]
        runc = self.directory / "bin" / "runc"  # looked for at the start, and not needed for a pull
        runc.parent.mkdir()
        runc.symlink_to("/bin/false")
        self.process = Process(
            "dockerd",
            [*wrapped, client("dockerd"), "--config-file", config],
            self.directory / "dockerd.log",
            environment={"PATH": f"{runc.parent}:{os.environ['PATH']}"},
        )

    async def pull(self, repository: str, tag: str) -> str:
        """The image's ID. Raises `PullFailed`."""
        async with self._api() as api:
            query = {"fromImage": repository, "tag": tag}
            answer = await api.post("/images/create", params=query)
            if not answer.is_success:
                raise PullFailed(answer.text)
            for line in answer.text.splitlines():
                if "error" in (said := json.loads(line)):
                    raise PullFailed(said["error"])
            image = (await api.get(f"/images/{repository}:{tag}/json")).json()
        found: str = image["Id"]
        return found

    async def __aenter__(self) -> Self:
        self.process.start()
        await eventually(self._answers, 60, self.process.tail, interval=0.1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.process.stop()

    async def _answers(self) -> bool:
        self.process.check()
        try:
            async with self._api() as api:
                return (await api.get("/_ping")).is_success
        except httpx.TransportError:
            return False

    def _api(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self.directory / "docker.sock"))
        return httpx.AsyncClient(transport=transport, base_url="http://docker", timeout=60)

    def _config(self) -> dict[str, Any]:
        return {
            "hosts": [f"unix://{self.directory}/docker.sock"],
            "data-root": str(self.directory / "data"),
            "exec-root": str(self.directory / "run"),
            "pidfile": str(self.directory / "docker.pid"),
            "containerd": str(self.containerd.socket),
            "storage-driver": "native" if self.containerd_store else "vfs",
            "features": {"containerd-snapshotter": self.containerd_store},
            "registry-mirrors": [self.mirror] if self.mirror else [],
            "bridge": "none",
            "iptables": False,
            "ip6tables": False,
            "userland-proxy": False,
        }
