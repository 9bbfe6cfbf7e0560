from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    FOUND: _ClassVar[Status]
    NOT_FOUND: _ClassVar[Status]
    NOT_SYNCED: _ClassVar[Status]
    GO_UPSTREAM: _ClassVar[Status]
    INVALID_KEY: _ClassVar[Status]
STATUS_UNSPECIFIED: Status
FOUND: Status
NOT_FOUND: Status
NOT_SYNCED: Status
GO_UPSTREAM: Status
INVALID_KEY: Status

class Key(_message.Message):
    __slots__ = ("digest", "tag_reference")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TAG_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    tag_reference: str
    def __init__(self, digest: _Optional[str] = ..., tag_reference: _Optional[str] = ...) -> None: ...

class ResolveRequest(_message.Message):
    __slots__ = ("keys", "max_peers", "wait_ms", "node", "zone", "failed_peers")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    MAX_PEERS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    FAILED_PEERS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    max_peers: int
    wait_ms: int
    node: str
    zone: str
    failed_peers: _containers.RepeatedCompositeFieldContainer[FailedPeer]
    def __init__(self, keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ..., max_peers: _Optional[int] = ..., wait_ms: _Optional[int] = ..., node: _Optional[str] = ..., zone: _Optional[str] = ..., failed_peers: _Optional[_Iterable[_Union[FailedPeer, _Mapping]]] = ...) -> None: ...

class FailedPeer(_message.Message):
    __slots__ = ("node", "address", "reason")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    node: str
    address: str
    reason: str
    def __init__(self, node: _Optional[str] = ..., address: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ResolveResponse(_message.Message):
    __slots__ = ("resolutions",)
    RESOLUTIONS_FIELD_NUMBER: _ClassVar[int]
    resolutions: _containers.RepeatedCompositeFieldContainer[Resolution]
    def __init__(self, resolutions: _Optional[_Iterable[_Union[Resolution, _Mapping]]] = ...) -> None: ...

class Resolution(_message.Message):
    __slots__ = ("status", "digest", "size_bytes", "peers")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    status: Status
    digest: str
    size_bytes: int
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    def __init__(self, status: _Optional[_Union[Status, str]] = ..., digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("node", "incarnation", "addresses", "zone")
    NODE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    node: str
    incarnation: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    zone: str
    def __init__(self, node: _Optional[str] = ..., incarnation: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ..., zone: _Optional[str] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("node", "incarnation", "sequence", "addresses", "zone", "in_sync", "lease_left_s", "digests", "tags")
    NODE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    LEASE_LEFT_S_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    node: str
    incarnation: int
    sequence: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    zone: str
    in_sync: bool
    lease_left_s: float
    digests: int
    tags: int
    def __init__(self, node: _Optional[str] = ..., incarnation: _Optional[int] = ..., sequence: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ..., zone: _Optional[str] = ..., in_sync: _Optional[bool] = ..., lease_left_s: _Optional[float] = ..., digests: _Optional[int] = ..., tags: _Optional[int] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("nodes", "nodes_in_sync", "digests", "pairs", "tags", "ready")
    NODES_FIELD_NUMBER: _ClassVar[int]
    NODES_IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    nodes: int
    nodes_in_sync: int
    digests: int
    pairs: int
    tags: int
    ready: bool
    def __init__(self, nodes: _Optional[int] = ..., nodes_in_sync: _Optional[int] = ..., digests: _Optional[int] = ..., pairs: _Optional[int] = ..., tags: _Optional[int] = ..., ready: _Optional[bool] = ...) -> None: ...
