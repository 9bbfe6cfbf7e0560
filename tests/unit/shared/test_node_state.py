"""The state file: whole at every moment, and readable by the registry."""

import threading
from pathlib import Path

import pytest

from heliograph_shared.digest import digest_of
from heliograph_shared.node_state import NodeState, UnreadableNodeState, read_node_state, write_node_state

STATE = NodeState(node="a", addresses=["10.0.0.1:5000"], tags={"quay.io/a:1": digest_of(b"1")})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run" / "node.json"
    write_node_state(path, STATE)
    assert read_node_state(path) == STATE
    assert path.stat().st_mode & 0o777 == 0o644
    write_node_state(path, NodeState(node="a"))
    assert read_node_state(path) == NodeState(node="a")
    assert [entry.name for entry in path.parent.iterdir()] == ["node.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"node": 1}',
        b'{"addresses": []}',
        b'{"node": "a", "tags": {"x": "sha256:1"}}',
    ],
)
def test_what_an_indexer_never_writes_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.json"
    path.write_bytes(content)
    with pytest.raises(UnreadableNodeState) as caught:
        read_node_state(path)
    assert caught.value.path == path
    assert caught.value.reason


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableNodeState, match="No such file"):
        read_node_state(tmp_path / "node.json")


def test_a_field_of_a_later_version_passes(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_text('{"node": "a", "later": 1}')
    assert read_node_state(path) == NodeState(node="a")


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_node_state(path, STATE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["node.json"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    states = [
        NodeState(node=name, tags={f"quay.io/{name}:{n}": digest_of(b"") for n in range(200)})
        for name in "ab"
    ]
    write_node_state(path, states[0])
    done = threading.Event()

    def write() -> None:
        for n in range(200):
            write_node_state(path, states[n % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert read_node_state(path) in states
    writer.join()
