"""A router's gRPC face over a table that the test writes: all that a registry sees of a router."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverServicer, add_ResolverServicer_to_server


@dataclass
class KnownContent:
    """What the fake router answers; `asked` are the requests it got."""

    nodes: dict[str, list[str]] = field(default_factory=dict)
    holders: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[tuple[str, str], int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)
    hangs: bool = False
    answers_after_s: float = 0
    synced: bool = True
    outdated: bool = False

    def holds(self, node: str, address: str, digest: str, size_bytes: int = 0) -> None:
        self.nodes[node] = [address]
        self.holders.setdefault(digest, []).append(node)
        self.sizes[node, digest] = size_bytes

    def resolve(self, key: Any, request: Any) -> Any:
        digest = key.digest or self.tags.get(key.tag_reference, "")
        failed = {peer.node for peer in request.failed_peers}
        nodes = [node for node in self.holders.get(digest, []) if node != request.node]
        nodes.sort(key=lambda node: node in failed)
        if (not nodes and not key.tag_reference) or not digest:
            return pb.Resolution(status=pb.NOT_FOUND if self.synced else pb.NOT_SYNCED)
        peers = [
            pb.Peer(node=node, addresses=self.nodes[node], size_bytes=self.sizes.get((node, digest), 0))
            for node in nodes[: request.max_peers or 3]
        ]
        return pb.Resolution(status=pb.FOUND, digest=digest, peers=peers)


class _Servicer(ResolverServicer):
    def __init__(self, known: KnownContent) -> None:
        self._known = known

    async def Resolve(self, request: Any, context: Any) -> Any:  # noqa: N802 - the method's name in the API
        self._known.asked.append(request)
        if self._known.hangs:
            await asyncio.sleep(60)
        await asyncio.sleep(self._known.answers_after_s)
        resolutions = [self._known.resolve(key, request) for key in request.keys]
        return pb.ResolveResponse(resolutions=resolutions, outdated=self._known.outdated)

    async def ListNodes(self, request: Any, context: Any) -> Any:  # noqa: N802
        held = Counter(node for nodes in self._known.holders.values() for node in nodes)
        return pb.ListNodesResponse(
            nodes=[
                pb.Node(node=node, addresses=addresses, in_sync=True, lease_left_s=3, digests=held[node])
                for node, addresses in self._known.nodes.items()
            ]
        )

    async def Stats(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.StatsResponse(nodes=len(self._known.nodes), ready=self._known.synced)

    async def ListTags(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = sorted(tag for tag in self._known.tags if request.containing in tag)
        return pb.ListTagsResponse(
            tags=[
                pb.ClusterTag(
                    tag_reference=tag,
                    digest=self._known.tags[tag],
                    nodes=len(self._known.holders.get(self._known.tags[tag], [])),
                )
                for tag in found[: request.most or 100]
            ],
            found=len(found),
        )


@asynccontextmanager
async def serve_resolver(
    known: KnownContent, port: int, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[None]:
    server = grpc.aio.server()
    add_ResolverServicer_to_server(_Servicer(known), server)
    if credentials is None:
        server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
