"""The state file of this node's indexer, read again whenever it is replaced."""

import os
from collections.abc import Mapping
from pathlib import Path

import structlog

from heliograph_shared.digest import Digest
from heliograph_shared.node_state import NodeState, UnreadableNodeState, read_node_state

log = structlog.get_logger()


class StateFile:
    """Every access costs one `stat` while the file is unchanged. A missing file counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self._state = NodeState(node="")
        self._addresses: frozenset[str] = frozenset()

    def digest_of(self, tag_reference: str) -> Digest | None:
        self._refresh()
        return self._state.tags.get(tag_reference)

    @property
    def tags(self) -> Mapping[str, Digest]:
        """The node's tags: digests by tag reference. The mapping is never changed in place."""
        self._refresh()
        return self._state.tags

    @property
    def addresses(self) -> frozenset[str]:
        self._refresh()
        return self._addresses

    def _refresh(self) -> None:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - a hot path
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            version = None
        if version == self._version:
            return
        self._version = version
        try:
            self._state = read_node_state(self._path) if version else NodeState(node="")
        except UnreadableNodeState as error:
            log.warning("state file is invalid, keeping the previous state", reason=str(error))
        self._addresses = frozenset(self._state.addresses)
