"""Writes the file that tells this node's registry its tags and addresses."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from heliograph_indexer.domain.content import TagTarget
from heliograph_indexer.errors import StateUnwritable
from heliograph_shared.node_state import NodeState, write_node_state


class NodeStateFile:
    def __init__(self, path: Path, node: str) -> None:
        self._path, self._node = path, node

    async def write(self, addresses: Sequence[str], tags: Mapping[str, TagTarget]) -> None:
        digests = {reference: tag.digest for reference, tag in tags.items()}
        state = NodeState(node=self._node, addresses=list(addresses), tags=digests)
        try:
            await asyncio.to_thread(write_node_state, self._path, state)
        except OSError as error:
            raise StateUnwritable(self._path, error.strerror or str(error)) from error
