"""containerd's CRI as the doctor uses it: the settings in its status, and a pull as the kubelet makes it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from heliograph_indexer.adapters.rpc import cri_pb2 as pb
from heliograph_indexer.errors import CallRefused
from heliograph_shared.rpc.channels import direct_channel

_STATUS_TIMEOUT_S = 5
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]

A = TypeVar("A", bound=Message)


@asynccontextmanager
async def open_cri(socket: Path) -> AsyncIterator["CriClient"]:
    """Own the channel, which connects at the first call."""
    async with direct_channel(f"unix:{socket}", _OPTIONS) as channel:
        yield CriClient(channel)


class CriClient:
    """Every call raises `CallRefused`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def config(self) -> str:
        """The CRI plugin's settings as JSON; empty if they are not reported."""
        request = pb.StatusRequest(verbose=True)
        answer = await self._call("RuntimeService/Status", request, pb.StatusResponse, _STATUS_TIMEOUT_S)
        return answer.info.get("config", "")

    async def pull(self, image: str, timeout_s: float) -> None:
        """Pull and unpack an image; containerd follows its hosts.toml files."""
        request = pb.PullImageRequest(image=pb.ImageSpec(image=image))
        await self._call("ImageService/PullImage", request, pb.PullImageResponse, timeout_s)

    async def _call(self, call: str, request: Message, answer: type[A], timeout_s: float) -> A:
        method = self._channel.unary_unary(
            f"/runtime.v1.{call}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            found: A = await method(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise CallRefused(call, error.code().name, error.details() or "") from error
        return found
