"""containerd as the doctor uses it: version, settings, every blob with its labels, and test pulls.

Calls have deadlines and raise `StoreUnavailable`.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from heliograph_indexer.adapters.containerd_rpc import ContainerdClient, open_containerd
from heliograph_indexer.adapters.cri_rpc import CriClient, open_cri
from heliograph_indexer.adapters.rpc import containerd_pb2 as pb
from heliograph_indexer.domain.missing_layers import REFERENCE_PREFIX, ImageRecord, Labels
from heliograph_indexer.domain.runtime_settings import ContainerdVersion, RuntimeSettings, from_status

_LIST_TIMEOUT_S, _READ_TIMEOUT_S, _DELETE_TIMEOUT_S = 20, 5, 30
_MAX_MANIFEST_BYTES = 4 << 20

_NO_LABELS: Labels = {}  # one object for all: stores hold many thousand blobs

_CONTENT = "/containerd.services.content.v1.Content"
_IMAGES = "/containerd.services.images.v1.Images"


@asynccontextmanager
async def open_inspection(socket: Path, namespace: str) -> AsyncIterator["ContainerdInspection"]:
    async with open_containerd(socket, namespace) as client, open_cri(socket) as cri:
        yield ContainerdInspection(client, cri)


class ContainerdInspection:
    def __init__(self, client: ContainerdClient, cri: CriClient) -> None:
        self._client, self._cri = client, cri

    async def version(self) -> ContainerdVersion:
        path = "/containerd.services.version.v1.Version/Version"
        answer = await self._client.ask(path, pb.Empty(), pb.VersionResponse)
        return ContainerdVersion(answer.version)

    async def reported_settings(self) -> RuntimeSettings | None:
        """From the CRI; None if this version does not report them there. Raises `CallRefused`."""
        return from_status(await self._cri.config())

    async def sharing_policy(self) -> str:
        """Of the metadata plugin; empty if it is not reported."""
        request = pb.PluginsRequest(filters=["type==io.containerd.metadata.v1,id==bolt"])
        path = "/containerd.services.introspection.v1.Introspection/Plugins"
        answer = await self._client.ask(path, request, pb.PluginsResponse)
        return next((policy for one in answer.plugins if (policy := one.exports.get("policy"))), "")

    async def content_root(self) -> Path:
        """The directory that holds `blobs`, on containerd's file system."""
        return await self._client.content_root()

    async def images(self) -> list[ImageRecord]:
        path = f"{_IMAGES}/List"
        answer = await self._client.ask(path, pb.ListImagesRequest(), pb.ListImagesResponse, _LIST_TIMEOUT_S)
        return [
            ImageRecord(image.name, image.target.digest, image.updated_at.ToMilliseconds())
            for image in answer.images
        ]

    async def blobs(self) -> Mapping[str, Labels]:
        """Every digest of the namespace with its labels that refer to other content; most have none."""
        found: dict[str, Labels] = {}
        path, request = f"{_CONTENT}/List", pb.ListContentRequest()
        async for answer in self._client.stream(path, request, pb.ListContentResponse, _LIST_TIMEOUT_S):
            found |= {info.digest: _references(info) or _NO_LABELS for info in answer.info}
        return found

    async def layers(self, manifest: str) -> tuple[str, ...]:
        """The layers that the manifest names; empty if it is no manifest."""
        body = bytearray()
        request = pb.ReadRequest(digest=manifest, size=_MAX_MANIFEST_BYTES)
        async for chunk in self._client.stream(f"{_CONTENT}/Read", request, pb.ReadResponse, _READ_TIMEOUT_S):
            body += chunk.data
        try:
            return tuple(str(layer["digest"]) for layer in json.loads(body)["layers"])
        except (ValueError, LookupError, TypeError):
            return ()

    async def pull(self, image: str, timeout_s: float) -> None:
        """Raises `CallRefused`."""
        await self._cri.pull(image, timeout_s)

    async def delete(self, names: list[str]) -> None:
        """Delete image names, and collect the garbage with the last one."""
        for name in names:
            request = pb.DeleteImageRequest(name=name, sync=name == names[-1])
            await self._client.ask(f"{_IMAGES}/Delete", request, pb.Empty, _DELETE_TIMEOUT_S)


def _references(info: pb.Info) -> Labels:
    return {name: value for name, value in info.labels.items() if name.startswith(REFERENCE_PREFIX)}
