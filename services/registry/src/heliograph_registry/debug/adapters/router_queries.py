"""Queries to a router by gRPC, on the resolver's channel but with a longer timeout."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import grpc

from heliograph_registry.debug.domain.cluster import ClusterNode, ClusterTag, ClusterTags
from heliograph_registry.mirror.errors import ResolverUnavailable
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest
from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub

_TIMEOUT_S = 1.0

T = TypeVar("T")


class GrpcRouterQueries:
    def __init__(self, channel: Callable[[], grpc.aio.Channel]) -> None:
        """`channel` returns the channel in use, which may change between calls."""
        self._channel = channel

    @property
    def _stub(self) -> ResolverStub:
        return ResolverStub(self._channel())

    async def ping(self) -> None:
        await _answered(self._stub.Stats(pb.StatsRequest(), timeout=_TIMEOUT_S))

    async def nodes(self) -> list[ClusterNode]:
        answer = await _answered(self._stub.ListNodes(pb.ListNodesRequest(), timeout=_TIMEOUT_S))
        return await asyncio.to_thread(_cluster_nodes, answer)  # slow for thousands of nodes

    async def tags(self, containing: str, most: int) -> ClusterTags:
        request = pb.ListTagsRequest(containing=containing, most=most)
        answer = await _answered(self._stub.ListTags(request, timeout=_TIMEOUT_S))
        tags = []
        for tag in answer.tags:
            try:
                tags.append(ClusterTag(tag.tag_reference, parse_digest(tag.digest), tag.nodes))
            except InvalidDigest:
                continue
        return ClusterTags(tuple(tags), answer.found)

    async def holders(self, digests: Sequence[Digest], most: int) -> list[tuple[str, ...]]:
        """The request names no node, so that the router does not leave this one out."""
        request = pb.ResolveRequest(keys=[pb.Key(digest=digest) for digest in digests], max_peers=most)
        answer = await _answered(self._stub.Resolve(request, timeout=_TIMEOUT_S))
        found = [tuple(peer.node for peer in one.peers) for one in answer.resolutions]
        return found if len(found) == len(digests) else [()] * len(digests)


def _cluster_nodes(answer: pb.ListNodesResponse) -> list[ClusterNode]:
    return [
        ClusterNode(
            node=node.node,
            addresses=tuple(node.addresses),
            zone=node.zone,
            in_sync=node.in_sync,
            stale=node.stale,
            lease_left_s=node.lease_left_s,
            digests=node.digests,
            tags=node.tags,
        )
        for node in answer.nodes
    ]


async def _answered(call: Awaitable[T]) -> T:
    """Raises `ResolverUnavailable`."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise ResolverUnavailable("the router is too old for this query") from error
        innermost = (error.details() or "").rpartition(": ")[2]  # such as "Connection refused"
        raise ResolverUnavailable(f"{error.code().name}: {innermost}"[:200]) from error
