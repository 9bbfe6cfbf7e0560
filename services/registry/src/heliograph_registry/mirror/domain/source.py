"""Where the bytes of an answer come from: this node's store, a peer, or nowhere for an error."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Local:
    """This node's content store."""

    kind: ClassVar[str] = "local"

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True, slots=True)
class FromPeer:
    """The registry of another node."""

    node: str
    kind: ClassVar[str] = "peer"

    def __str__(self) -> str:
        return f"{self.kind}/{self.node}"


@dataclass(frozen=True, slots=True)
class Nobody:
    """No source: the answer is an error."""

    kind: ClassVar[str] = "none"

    def __str__(self) -> str:
        return self.kind


Source = Local | FromPeer | Nobody
"""`kind` is the value of metric labels; `str()`, percent-encoded, is that of `Heliograph-Source`."""

LOCAL, NOBODY = Local(), Nobody()


def parse_source(text: str) -> Source:
    """The inverse of `str()`; `Nobody` for anything else."""
    if text == Local.kind:
        return LOCAL
    prefix, slash, node = text.partition("/")
    return FromPeer(node) if prefix == FromPeer.kind and slash and node else NOBODY
