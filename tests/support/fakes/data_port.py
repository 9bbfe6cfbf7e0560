"""This registry's own data port in memory: the port `DataPort` as the contract suite proves it to behave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from heliograph_registry.debug.errors import PullInterrupted
from heliograph_registry.mirror.domain.ranges import parse_range
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import LOCAL, Source
from heliograph_shared.digest import Digest


@dataclass
class MemoryPullResponse:
    """`length` is what it announces where that is not the size of its body."""

    status: int = 404
    body: bytes = field(default=b"", repr=False)
    source: Source = LOCAL
    reason: Reason | None = None
    digest: str = ""
    length: int | None = None
    position: int = 0
    aborted: bool = False

    @property
    def complete(self) -> bool:
        return self.position == (len(self.body) if self.length is None else self.length)

    def read(self, buffer: memoryview) -> int:
        if self.aborted:
            raise PullInterrupted("aborted")
        piece = self.body[self.position : self.position + len(buffer)]
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)


@dataclass(eq=False)
class MemoryDataPort:
    """Serves `content`, all of it from `source`, by digest or under a tag; `requested` are the requests.

    `changes` gives another response for what a path ends with.
    """

    content: dict[Digest, bytes] = field(default_factory=dict, repr=False)
    tags: dict[str, Digest] = field(default_factory=dict)
    source: Source = LOCAL
    down: bool = False
    changes: dict[str, Callable[[Mapping[str, str]], MemoryPullResponse]] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)

    def open(self) -> "MemoryPullConnection":
        return MemoryPullConnection(self)

    def respond(self, method: str, path: str, headers: Mapping[str, str]) -> MemoryPullResponse:
        """Raises `PullInterrupted`."""
        if self.down:
            raise PullInterrupted("connection refused")
        self.requested.append(f"{method} {path}")
        name = path.partition("?")[0].rpartition("/")[2]
        if name in self.changes:
            return self.changes[name](headers)
        digest = next((held for held in self.content if held in {name, self.tags.get(name)}), None)
        if digest is None:
            return MemoryPullResponse(404, reason=Reason.NOT_FOUND)
        if method == "HEAD":
            return MemoryPullResponse(200, source=self.source, digest=digest)
        body = self.content[digest]
        wanted = parse_range(headers.get("range"))
        if wanted is None:
            return MemoryPullResponse(200, body, self.source, digest=digest)
        span = wanted.of(len(body))
        if span is None:
            return MemoryPullResponse(416, reason=Reason.RANGE_NOT_SATISFIABLE)
        return MemoryPullResponse(206, body[span.first : span.last + 1], self.source, digest=digest)


class MemoryPullConnection:
    def __init__(self, port: MemoryDataPort) -> None:
        self._port = port
        self._response: MemoryPullResponse | None = None

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> MemoryPullResponse:
        self._response = self._port.respond(method, path, headers)
        return self._response

    def abort(self) -> None:
        if self._response is not None:
            self._response.aborted = True

    def close(self) -> None:
        pass
