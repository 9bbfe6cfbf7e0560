"""The messages of bus contract v1, a public API: CloudEvents 1.0 in NATS headers, JSON in the payload.

Unknown fields are ignored, wrong types are refused. Sizes are in bytes, times in milliseconds since 1970; an
incarnation is `time_ns` at the start of the node's indexer. The models are the contract;
`docs/architecture.md` explains how it is used.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from heliograph_shared.digest import WireDigest
from heliograph_shared.inventory import Inventory

MAX_MESSAGE_BYTES = 900_000
"""Payload and headers together. NATS allows 1 MiB, and counts the payload only."""

MAX_INCARNATION_AHEAD_MS = 5 * 60_000
"""Routers refuse an incarnation that is further ahead of their clocks."""

NodeName = Annotated[
    str, StringConstraints(min_length=1, max_length=253), Field(description="the node's name")
]
TagReference = Annotated[str, StringConstraints(min_length=1, max_length=640)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Incarnation = Annotated[
    Count,
    Field(description="of this run of the indexer: nanoseconds since 1970 at its start, or more"),
]
Addresses = Annotated[list[str], Field(description="host:port of the node's registry, best first")]
Zone = Annotated[str, Field(description="the node's zone, empty if not known")]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Tagged(_Message):
    """The digest that a tag points at, and since when."""

    digest: WireDigest
    tagged_at_ms: Annotated[Count, Field(description="milliseconds since 1970")]


Contents = Annotated[dict[WireDigest, Count], Field(description="digest to size in bytes")]
Tags = Annotated[
    dict[TagReference, Tagged], Field(description="registry/repository:tag to the digest it points at")
]


class ContentChanged(_Message):
    """The changes of a node's store since `sequence - 1`, and the inventory after them."""

    node: NodeName
    incarnation: Incarnation
    sequence: Annotated[Count, Field(description="number of this change in the incarnation, from 1")]
    added: Contents = {}
    removed: Annotated[list[WireDigest], Field(description="removed digests")] = []
    tagged: Tags = {}
    untagged: Annotated[list[TagReference], Field(description="removed tag references")] = []
    inventory: Inventory


class NodeHeartbeat(_Message):
    """The node is alive and at `sequence`; its registry answers at `addresses` (none: not reachable)."""

    node: NodeName
    incarnation: Incarnation
    sequence: Annotated[Count, Field(description="of the last change that was published, 0 if none")]
    addresses: Addresses = []
    zone: Zone = ""
    downloading: Annotated[list[WireDigest], Field(description="digests that containerd is downloading")] = []
    inventory: Inventory


class NodeLeft(_Message):
    """The node stops in an orderly way; routers drop its content at once."""

    node: NodeName
    incarnation: Incarnation
    sequence: Annotated[Count, Field(description="of the last change that was published")]


class SnapshotRequest(_Message):
    """Asks a node for all its content."""

    incarnation: Annotated[
        Count, Field(description="the highest one of the node that the requester knows, 0 for none")
    ] = 0
    addresses: Addresses = []
    namesake: Annotated[
        Count,
        Field(
            description="a lower incarnation that is heard from at the same time, so that two indexers have "
            "the node's name; 0 for none"
        ),
    ] = 0
    namesake_addresses: Addresses = []


class NodeSnapshot(_Message):
    """Chunk `chunk` (from 0) of `chunks`, all from one frozen state at `sequence`."""

    node: NodeName
    incarnation: Incarnation
    sequence: Annotated[Count, Field(description="the last change that is included")]
    chunk: Annotated[Count, Field(description="which chunk this is, from 0")]
    chunks: Annotated[int, Field(ge=1, le=65536, description="how many chunks there are")]
    content: Contents = {}
    tags: Tags = {}
    addresses: Addresses = []
    zone: Zone = ""
    inventory: Inventory


class RouterStarted(_Message):
    """A router started with an empty index: nodes answer with a heartbeat after a random delay."""

    router: Annotated[
        str, StringConstraints(min_length=1, max_length=253), Field(description="the router's name")
    ]


M = TypeVar("M", bound=_Message)


class MalformedMessage(ValueError):
    """A payload that violates the contract."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(f"not a {kind}: {reason}")
        self.kind, self.reason = kind, reason


def type_of(kind: type[BaseModel]) -> str:
    """The CloudEvents type of a model."""
    return f"heliograph.v1.{kind.__name__}"


def encode(message: BaseModel) -> bytes:
    return orjson.dumps(message.model_dump())


def decode(kind: type[M], payload: bytes) -> M:
    """Raises `MalformedMessage` with the first error."""
    try:
        # The same as `model_validate_json`, a seventh faster; this is a router's hot path.
        decoded: M = kind.__pydantic_validator__.validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:80] for part in first["loc"])
        raise MalformedMessage(kind.__name__, f"{where}: {first['msg']}"[:300]) from error
    return decoded


def headers(kind: type[BaseModel], *, source: str, event_id: str, trace: Mapping[str, str]) -> dict[str, str]:
    """CloudEvents 1.0 attributes as the NATS binding spells them, and the W3C trace context.

    `source` is a URI reference such as `/nodes/worker-1`; `event_id` is unique within it.
    """
    return {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-source": source,
        "ce-type": type_of(kind),
        "ce-time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "content-type": "application/json",
        **trace,
    }
