"""certs.d as a whole: its path, the record of claims in it, and its lock."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph_configurator.adapters import filesystem
from heliograph_configurator.errors import FolderLocked, PathUnusable, RecordUnusable
from tests.unit.configurator.trees import (
    TARGET,
    Choice,
    apply,
    cleanup,
    harvest,
    hosts,
    put,
)


def test_the_config_path_may_be_a_link(root: Path) -> None:
    (root / "real").mkdir(parents=True)
    (root / "link").symlink_to("real")
    assert apply(root / "link", Choice())
    assert TARGET in hosts(root / "real", "_default")["host"]
    assert cleanup(root / "link")
    assert {path.name for path in root.iterdir()} == {"real", "link"}


@pytest.mark.parametrize("use", [lambda root: apply(root, Choice()), cleanup])
def test_a_file_as_config_path_is_refused(root: Path, use: Callable[[Path], bool]) -> None:
    root.write_bytes(b"file")
    with pytest.raises(PathUnusable, match="Not a directory"):
        use(root)
    with pytest.raises(PathUnusable, match="Not a directory"):
        apply(root / "below", Choice())
    assert root.read_bytes() == b"file"


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 2}', b'{"version": 1, "claims": {"a": {}}}'])
def test_an_invalid_record_stops_everything(root: Path, content: bytes) -> None:
    put(root, "quay.io")
    apply(root, Choice(registries=("quay.io",)))
    (root / ".heliograph/record.json").write_bytes(content)
    before = harvest(root)
    uses: list[Callable[[Path], bool]] = [lambda root: apply(root, Choice()), cleanup]
    for use in uses:
        with pytest.raises(RecordUnusable, match=r"record\.json: not a valid record"):
            use(root)
    assert harvest(root) == before


@pytest.mark.parametrize("lost", ["record.json", "originals/quay.io.toml"])
def test_a_lost_record_or_original_stops_everything(root: Path, lost: str) -> None:
    put(root, "quay.io")
    apply(root, Choice(registries=("quay.io", "docker.io")))
    (root / ".heliograph" / lost).unlink()
    before = harvest(root)
    with pytest.raises(RecordUnusable, match=lost):
        cleanup(root)
    assert harvest(root) == before


@pytest.mark.parametrize("name", ["", "record.json", "originals", "staged"])
def test_a_link_among_the_configurators_own_files_is_not_followed(root: Path, name: str) -> None:
    """It could make root write anywhere."""
    put(root, "quay.io")
    apply(root, Choice(registries=("quay.io",)))
    elsewhere = root.parent / "elsewhere"
    path = root / ".heliograph" / name
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.mkdir()
    path.symlink_to(elsewhere)
    before = harvest(root.parent)
    uses: list[Callable[[Path], bool]] = [lambda root: apply(root, Choice()), cleanup]
    for use in uses:
        with pytest.raises(RecordUnusable, match="link"):
            use(root)
    assert harvest(root.parent) == before


def test_a_locked_folder_is_refused_until_it_is_unlocked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir()
    monkeypatch.setattr(filesystem, "LOCK_TIMEOUT_S", 0.1)
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(FolderLocked):
            apply(root, Choice())
    finally:
        os.close(descriptor)
    assert apply(root, Choice())


@pytest.mark.processes
def test_concurrent_processes_leave_one_complete_result(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.unit.configurator.trees import *\n"
        "for n in range(20): apply(Path(sys.argv[1]), Choice(targets=(f'http://{sys.argv[2]}:{5000 + n}',)))"
    )
    put(root, "_default")
    before = harvest(root)
    children = [
        subprocess.Popen([sys.executable, "-c", code, root, f"127.0.0.{n}"], stdout=subprocess.DEVNULL)
        for n in (1, 2)
    ]
    assert [child.wait(60) for child in children] == [0, 0]
    assert list(hosts(root, "_default")["host"]) in (["http://127.0.0.1:5019"], ["http://127.0.0.2:5019"])
    assert cleanup(root)
    assert harvest(root) == before
