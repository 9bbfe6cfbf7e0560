"""A client of containerd's API for content and images of one namespace."""

import grpc

from tests.support.rpc import containerd_pb2 as pb

CONTENT = "/containerd.services.content.v1.Content"
IMAGES = "/containerd.services.images.v1.Images"


class Store:
    """A client over one channel. Failures are raised as `grpc.aio.AioRpcError`."""

    def __init__(self, channel: grpc.aio.Channel, namespace: str = "k8s.io") -> None:
        self._metadata = (("containerd-namespace", namespace),)
        self._info = channel.unary_unary(
            f"{CONTENT}/Info",
            request_serializer=pb.InfoRequest.SerializeToString,
            response_deserializer=pb.InfoResponse.FromString,
        )
        self._list = channel.unary_stream(
            f"{CONTENT}/List",
            request_serializer=pb.ListContentRequest.SerializeToString,
            response_deserializer=pb.ListContentResponse.FromString,
        )
        self._delete = channel.unary_unary(
            f"{CONTENT}/Delete",
            request_serializer=pb.DeleteContentRequest.SerializeToString,
            response_deserializer=pb.Empty.FromString,
        )
        self._list_images = channel.unary_unary(
            f"{IMAGES}/List",
            request_serializer=pb.ListImagesRequest.SerializeToString,
            response_deserializer=pb.ListImagesResponse.FromString,
        )
        self._create_image, self._update_image = (
            channel.unary_unary(
                f"{IMAGES}/{method}",
                request_serializer=pb.ImageMessage.SerializeToString,
                response_deserializer=pb.ImageMessage.FromString,
            )
            for method in ("Create", "Update")
        )
        self._delete_image = channel.unary_unary(
            f"{IMAGES}/Delete",
            request_serializer=pb.DeleteImageRequest.SerializeToString,
            response_deserializer=pb.Empty.FromString,
        )

    async def content(self) -> dict[str, int]:
        """Every digest of the namespace with its size in bytes."""
        found: dict[str, int] = {}
        async for chunk in self._list(pb.ListContentRequest(), metadata=self._metadata, timeout=10):
            found.update({info.digest: info.size for info in chunk.info})
        return found

    async def info(self, digest: str) -> pb.Info:
        """One blob's size, times and labels."""
        response: pb.InfoResponse = await self._info(
            pb.InfoRequest(digest=digest), metadata=self._metadata, timeout=10
        )
        return response.info

    async def delete_content(self, digest: str) -> None:
        """Delete a blob, as `ctr content rm` does; publishes /content/delete."""
        await self._delete(pb.DeleteContentRequest(digest=digest), metadata=self._metadata, timeout=10)

    async def images(self) -> dict[str, pb.Image]:
        """Every image by its name, with `target.digest`, `labels` and times."""
        response: pb.ListImagesResponse = await self._list_images(
            pb.ListImagesRequest(), metadata=self._metadata, timeout=10
        )
        return {image.name: image for image in response.images}

    async def create_image(self, name: str, target: pb.Descriptor) -> None:
        """Give content a name, as `ctr image tag` does."""
        await self._create_image(_named(name, target), metadata=self._metadata, timeout=10)

    async def update_image(self, name: str, target: pb.Descriptor) -> None:
        """Make a name point to other content."""
        await self._update_image(_named(name, target), metadata=self._metadata, timeout=10)

    async def delete_image(self, name: str, *, collect: bool = True) -> None:
        """Remove one name; with `collect`, return only after the garbage collection."""
        request = pb.DeleteImageRequest(name=name, sync=collect)
        await self._delete_image(request, metadata=self._metadata, timeout=30)


def _named(name: str, target: pb.Descriptor) -> pb.ImageMessage:
    return pb.ImageMessage(image=pb.Image(name=name, target=target))
