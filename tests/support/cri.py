"""What the kubelet asks of containerd: the CRI image service."""

import grpc

from tests.support.rpc import cri_pb2 as pb

SERVICE = "/runtime.v1.ImageService"


class ImageService:
    """A client over one channel. Failures are raised as `grpc.aio.AioRpcError`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._pull = channel.unary_unary(
            f"{SERVICE}/PullImage",
            request_serializer=pb.PullImageRequest.SerializeToString,
            response_deserializer=pb.PullImageResponse.FromString,
        )
        self._remove = channel.unary_unary(
            f"{SERVICE}/RemoveImage",
            request_serializer=pb.RemoveImageRequest.SerializeToString,
            response_deserializer=pb.RemoveImageResponse.FromString,
        )
        self._list = channel.unary_unary(
            f"{SERVICE}/ListImages",
            request_serializer=pb.ListImagesRequest.SerializeToString,
            response_deserializer=pb.ListImagesResponse.FromString,
        )
        self._status = channel.unary_unary(
            f"{SERVICE}/ImageStatus",
            request_serializer=pb.ImageStatusRequest.SerializeToString,
            response_deserializer=pb.ImageStatusResponse.FromString,
        )

    async def pull(
        self,
        reference: str,
        *,
        within: float = 60.0,
        traceparent: str | None = None,
        credentials: tuple[str, str] | None = None,
    ) -> str:
        """Pull and unpack `reference`; return the image's id, which is its config's digest.

        containerd continues the trace of `traceparent` if its tracing plugin is configured. `credentials`
        are the user and password of a pull secret.
        """
        metadata = (("traceparent", traceparent),) if traceparent else ()
        request = pb.PullImageRequest(image=pb.ImageSpec(image=reference))
        if credentials is not None:
            request.auth.username, request.auth.password = credentials
        response: pb.PullImageResponse = await self._pull(request, timeout=within, metadata=metadata)
        return response.image_ref

    async def remove(self, reference: str) -> None:
        """Delete the image with all its names, and collect its content at once."""
        await self._remove(pb.RemoveImageRequest(image=pb.ImageSpec(image=reference)), timeout=30)

    async def images(self, *, within: float = 10.0) -> list[pb.Image]:
        """Every image, as `id`, `repo_tags`, `repo_digests` and `size`."""
        response: pb.ListImagesResponse = await self._list(pb.ListImagesRequest(), timeout=within)
        return list(response.images)

    async def image(self, reference: str) -> pb.Image | None:
        """Look up one image by any of its names."""
        response: pb.ImageStatusResponse = await self._status(
            pb.ImageStatusRequest(image=pb.ImageSpec(image=reference)), timeout=10
        )
        return response.image if response.HasField("image") else None
