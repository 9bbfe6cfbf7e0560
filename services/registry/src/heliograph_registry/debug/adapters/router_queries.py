"""Queries to a router by gRPC, on the resolver's channels but with a longer timeout."""

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
_MOST_ASKED = 2

T = TypeVar("T")


class GrpcRouterQueries:
    def __init__(self, channels: Callable[[], Sequence[grpc.aio.Channel]]) -> None:
        """`channels` returns those of all replicas, the best first; if it fails, the second is asked."""
        self._channels = channels

    async def _answered(self, call: Callable[[ResolverStub], Awaitable[T]]) -> T:
        """Raises `ResolverUnavailable`."""
        error = ResolverUnavailable("no address of a router is known")
        for channel in self._channels()[:_MOST_ASKED]:
            try:
                return await call(ResolverStub(channel))
            except grpc.aio.AioRpcError as failure:
                error = _unavailable(failure)
        raise error

    async def ping(self) -> None:
        await self._answered(lambda stub: stub.Stats(pb.StatsRequest(), timeout=_TIMEOUT_S))

    async def nodes(self) -> list[ClusterNode]:
        answer = await self._answered(lambda stub: stub.ListNodes(pb.ListNodesRequest(), timeout=_TIMEOUT_S))
        return await asyncio.to_thread(_cluster_nodes, answer)  # slow for thousands of nodes

    async def tags(self, containing: str, most: int) -> ClusterTags:
        request = pb.ListTagsRequest(containing=containing, most=most)
        answer = await self._answered(lambda stub: stub.ListTags(request, timeout=_TIMEOUT_S))
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
        answer = await self._answered(lambda stub: stub.Resolve(request, timeout=_TIMEOUT_S))
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
            namesake=tuple(node.namesake.addresses) if node.HasField("namesake") else None,
        )
        for node in answer.nodes
    ]


def _unavailable(error: grpc.aio.AioRpcError) -> ResolverUnavailable:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return ResolverUnavailable("the router is too old for this query")
    innermost = (error.details() or "").rpartition(": ")[2]  # such as "Connection refused"
    return ResolverUnavailable(f"{error.code().name}: {innermost}"[:200])
