"""containerd's gRPC API over its socket, as far as the indexer uses it; calls have deadlines.

Every failure except "not found" raises `StoreUnavailable`. There is no keepalive: on a local socket the
kernel reports the daemon's end, and containerd (a Go gRPC server with the default enforcement policy) closes
connections that ping more often than every five minutes.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from heliograph_indexer.adapters.rpc import containerd_pb2 as pb
from heliograph_indexer.domain.content import StoreContent, TagTarget
from heliograph_indexer.errors import StoreUnavailable
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest
from heliograph_shared.reference import InvalidReference, parse_tag_reference, registry_has_capitals
from heliograph_shared.rpc.channels import direct_channel

log = structlog.get_logger()

_CALL_TIMEOUT_S = 5
_LIST_TIMEOUT_S = 20
_STATUS_TIMEOUT_S = 0.5
_MAX_MESSAGE_BYTES = 64 << 20
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # A shared pool would keep the connect backoff of an earlier channel to the same socket.
    ("grpc.use_local_subchannel_pool", 1),
]

_CONTENT = "/containerd.services.content.v1.Content"
_IMAGES = "/containerd.services.images.v1.Images"
_EVENTS = "/containerd.services.events.v1.Events"
_INTROSPECTION = "/containerd.services.introspection.v1.Introspection"

A = TypeVar("A", bound=Message)

_digest_at_end = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z").search


@dataclass(frozen=True, slots=True)
class BlobTouched:
    """An event about this blob. `at_s` is when it happened, in seconds since 1970; 0: unknown."""

    digest: Digest
    at_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class ImageTouched:
    """An event about this image name; `at_s` as in `BlobTouched`."""

    name: str
    deleted: bool
    at_s: float = field(default=0.0, compare=False)


@asynccontextmanager
async def open_containerd(socket: Path, namespace: str) -> AsyncIterator["ContainerdClient"]:
    """Own the channel, which connects at the first call."""
    async with direct_channel(f"unix:{socket}", _CHANNEL_OPTIONS) as channel:
        yield ContainerdClient(channel, f"containerd at {socket}", namespace)


class ContainerdClient:
    """Reads one namespace. Image names that are no tags and digests of unknown algorithms are skipped."""

    def __init__(self, channel: grpc.aio.Channel, store: str, namespace: str) -> None:
        self._channel, self._store, self._namespace = channel, store, namespace
        self._metadata = (("containerd-namespace", namespace),)

    async def content_root(self) -> Path:
        """The directory that holds `blobs`, on the daemon's file system."""
        request = pb.PluginsRequest(filters=["type==io.containerd.content.v1"])
        answer = await self.ask(f"{_INTROSPECTION}/Plugins", request, pb.PluginsResponse)
        for plugin in answer.plugins:
            if root := plugin.exports.get("root"):
                return Path(root)
        raise StoreUnavailable(self._store, "it does not report the directory of its content store")

    async def content(self) -> StoreContent:
        """All blobs and tags."""
        images = await self.ask(
            f"{_IMAGES}/List", pb.ListImagesRequest(), pb.ListImagesResponse, timeout_s=_LIST_TIMEOUT_S
        )
        blobs: dict[Digest, int] = {}
        created_at_ms: dict[str, int] = {}
        async for answer in self.stream(
            f"{_CONTENT}/List", pb.ListContentRequest(), pb.ListContentResponse, _LIST_TIMEOUT_S
        ):
            for info in answer.info:
                if digest := _digest(info.digest):
                    blobs[digest] = info.size
                    created_at_ms[digest] = info.created_at.ToMilliseconds()
        return StoreContent(blobs, _tags(images.images, created_at_ms))

    async def blob_size(self, digest: Digest) -> int | None:
        """In bytes; None if the namespace has no such blob."""
        info = await self._info(digest)
        return None if info is None else info.size

    async def tag(self, name: str) -> TagTarget | None:
        """The target of an image name; None if there is no such name or it is no tag.

        None as well if its registry is written with capitals: `content` tells which of its spellings counts.
        """
        if registry_has_capitals(name):
            return None
        answer = await self.find(f"{_IMAGES}/Get", pb.GetImageRequest(name=name), pb.GetImageResponse)
        if answer is None or _tag(answer.image) is None:
            return None
        target = await self._info(answer.image.target.digest)
        return _tag(answer.image, target.created_at.ToMilliseconds() if target else 0)

    async def _info(self, digest: str) -> pb.Info | None:
        answer = await self.find(f"{_CONTENT}/Info", pb.InfoRequest(digest=digest), pb.InfoResponse)
        return None if answer is None else answer.info

    async def downloading(self) -> list[Digest]:
        answer = await self.ask(
            f"{_CONTENT}/ListStatuses",
            pb.ListStatusesRequest(),
            pb.ListStatusesResponse,
            timeout_s=_STATUS_TIMEOUT_S,
        )
        texts = (status.expected or _ingest_digest(status.ref) for status in answer.statuses)
        return [digest for text in texts if (digest := _digest(text))]

    async def events(self) -> AsyncIterator[BlobTouched | ImageTouched]:
        """Events about blobs and images, from about now until `StoreUnavailable` is raised."""
        filters = [f'topic~="^/images/|^/content/",namespace=="{self._namespace}"']
        request = pb.SubscribeRequest(filters=filters)
        async for envelope in self.stream(f"{_EVENTS}/Subscribe", request, pb.Envelope, None):
            if touched := _touched(envelope):
                yield touched
        raise StoreUnavailable(self._store, "it ended the event stream")

    async def stream(
        self, path: str, request: Message, answer: type[A], timeout_s: float | None
    ) -> AsyncIterator[A]:
        """Raises `StoreUnavailable`."""
        method = self._channel.unary_stream(
            path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            async for one in method(request, metadata=self._metadata, timeout=timeout_s):
                yield one
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error

    async def find(self, path: str, request: Message, answer: type[A]) -> A | None:
        """None if it is not found. Raises `StoreUnavailable`."""
        try:
            return await self._call(path, request, answer, _CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise self._unavailable(error) from error

    async def ask(
        self, path: str, request: Message, answer: type[A], timeout_s: float = _CALL_TIMEOUT_S
    ) -> A:
        """Raises `StoreUnavailable`."""
        try:
            return await self._call(path, request, answer, timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error

    async def _call(self, path: str, request: Message, answer: type[A], timeout_s: float) -> A:
        method = self._channel.unary_unary(
            path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        found: A = await method(request, metadata=self._metadata, timeout=timeout_s)
        return found

    def _unavailable(self, error: grpc.aio.AioRpcError) -> StoreUnavailable:
        return StoreUnavailable(self._store, f"{error.code().name}: {error.details()}")


def _touched(envelope: pb.Envelope) -> BlobTouched | ImageTouched | None:
    """Goes by the topic: containerd's `type_url` has no slash, so protobuf's `Any` cannot unpack it."""
    try:
        at_s = envelope.timestamp.ToMicroseconds() / 1e6
        match envelope.topic:
            case "/content/create" | "/content/delete":
                digest = _digest(pb.ContentEvent.FromString(envelope.event.value).digest)
                return BlobTouched(digest, at_s) if digest else None
            case "/images/create" | "/images/update" | "/images/delete":
                name = pb.ImageEvent.FromString(envelope.event.value).name
                return ImageTouched(name, deleted=envelope.topic.endswith("delete"), at_s=at_s)
    except (DecodeError, ValueError) as error:
        log.warning("unreadable event dropped", topic=envelope.topic, reason=str(error))
    return None


def _tags(images: Iterable[pb.Image], created_at_ms: Mapping[str, int]) -> dict[str, TagTarget]:
    """By tag reference. Of names that differ only in the registry's capitals the latest counts.

    `created_at_ms` are the times at which the blobs came into the store.
    """
    tags: dict[str, TagTarget] = {}
    for image in images:
        if tag := _tag(image, created_at_ms.get(image.target.digest, 0)):
            reference = str(parse_tag_reference(image.name))
            known = tags.get(reference)
            if known is None or known.tagged_at_ms < tag.tagged_at_ms:
                tags[reference] = tag
    return tags


def _tag(image: pb.Image, target_created_at_ms: int = 0) -> TagTarget | None:
    """None unless its name is a tag: the CRI adds names for the image's ID and digest.

    The image's `updated_at` moves whenever it is labelled or imported again, and says when the tag moved only
    if it is known to have moved. Else the tag points at its target since both exist, or later.
    """
    try:
        parse_tag_reference(image.name)
    except InvalidReference:
        return None
    digest = _digest(image.target.digest)
    if digest is None:
        return None
    since_ms = max(0, image.created_at.ToMilliseconds(), target_created_at_ms)
    return TagTarget(digest, since_ms, max(0, image.updated_at.ToMilliseconds()))


def _digest(text: str) -> Digest | None:
    try:
        return parse_digest(text)
    except InvalidDigest:
        return None


def _ingest_digest(ref: str) -> str:
    """The digest at the end of an ingest's ref, such as `k8s.io/3/layer-sha256:...`; else empty."""
    found = _digest_at_end(ref)
    return found[0] if found else ""
