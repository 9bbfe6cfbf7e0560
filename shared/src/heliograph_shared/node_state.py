"""The file by which an indexer passes tags and addresses to its node's registry; written atomically."""

import os
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from heliograph_shared.digest import WireDigest


class NodeState(BaseModel):
    """This node's tags, and the addresses (`host:port`) where its registry is reached."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    node: str
    addresses: list[str] = []
    tags: dict[str, WireDigest] = {}


class UnreadableNodeState(Exception):
    """The file is absent, unreadable or not in the format that an indexer writes."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


def read_node_state(path: Path) -> NodeState:
    """Raises `UnreadableNodeState`."""
    try:
        return NodeState.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UnreadableNodeState(path, error.strerror or str(error)) from error
    except ValidationError as error:
        raise UnreadableNodeState(path, str(error.errors(include_url=False)[0]["msg"])) from error


def write_node_state(path: Path, state: NodeState) -> None:
    """Replace the file atomically, readable for all users. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(state.model_dump_json().encode())
            os.fchmod(file.fileno(), 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
