"""One containerd that many tests share: it reads `hosts.toml` anew at every pull."""

from dataclasses import dataclass

import grpc
import pytest

from tests.support.containerd import Containerd
from tests.support.images import Image
from tests.support.upstream import Upstream

REPOSITORY, TAG = "team/app", "v1"


@dataclass(frozen=True)
class Lab:
    """A node with an empty config_path, and an upstream that has `image` as team/app:v1."""

    node: Containerd
    upstream: Upstream
    image: Image

    @property
    def modern(self) -> bool:
        return self.node.release.modern

    @property
    def registry(self) -> str:
        return f"{self.upstream.host}:{self.upstream.port}"

    def write(self, folder: str, text: str) -> None:
        """Make it the folder's `hosts.toml`."""
        self.put("hosts.toml", text.encode(), folder)

    def put(self, name: str, content: bytes, folder: str = "") -> None:
        """Into upstream's folder unless another is named."""
        path = self.node.certs_path / (folder or self.registry) / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    async def pull(self, registry: str = "", credentials: tuple[str, str] | None = None) -> None:
        """From upstream unless another registry is named; as if the node had never seen the image."""
        name = f"{registry or self.registry}/{REPOSITORY}:{TAG}"
        assert await self.node.cri.pull(name, credentials=credentials) == self.image.config.digest
        await self.node.cri.remove(name)

    async def fail(self, registry: str = "", reason: str | None = None) -> None:
        """See a pull fail for `reason`, a regular expression."""
        with pytest.raises(grpc.aio.AioRpcError, match=reason):
            await self.node.cri.pull(f"{registry or self.registry}/{REPOSITORY}:{TAG}")

    def everything(self, registry: str = "") -> list[tuple[str, str, str]]:
        """What is asked for in a pull of the tag, as (method, path, ns)."""
        registry = registry or self.registry
        wanted = [("HEAD", f"/v2/{REPOSITORY}/manifests/{TAG}", registry)]
        for blob in self.image.pulled():
            kind = "manifests" if blob in (self.image.target, self.image.manifest) else "blobs"
            wanted.append(("GET", f"/v2/{REPOSITORY}/{kind}/{blob.digest}", registry))
        return wanted
