"""`cleanup` brings back the very file that was there, also after a kill at any system call."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.domain.mirror import MirrorTls
from tests.unit.configurator.test_crashes import Run, choices, perform, runs, thorough, trees
from tests.unit.configurator.trees import (
    EXISTING,
    Choice,
    Crash,
    Entry,
    apply,
    attributes,
    cleanup,
    harvest,
    plant,
    put,
    quick_folder,
    withdraw,
)

CHOICE = Choice(
    registries=("quay.io", "docker.io", "reg.test"),
    targets=("https://m.test",),
    prepend=True,
    tls=MirrorTls(b"ca", b"pair"),
)
WITH_DEFAULT = replace(CHOICE, registries=None)


def marked(path: Path) -> None:
    """As a tool may leave a file: another owner, an extended attribute, an old time."""
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1000, 1001)
    os.setxattr(path, "user.tool", b"value")
    os.utime(path, ns=(10**18, 10**18))


class NoExchange(Disk):
    """A file system without RENAME_EXCHANGE, such as NFS."""

    def exchange(self, first: Path, second: Path) -> bool:
        return False


@pytest.mark.parametrize("disk", [Disk(), NoExchange()])
def test_owner_mode_attributes_and_time_come_back(root: Path, disk: Disk) -> None:
    marked(put(root, "quay.io"))
    marked(put(root, "docker.io", b""))
    before, kept = harvest(root), attributes(root)
    uses: list[Callable[[], bool]] = [
        lambda: apply(root, CHOICE, disk),
        lambda: apply(root, replace(CHOICE, targets=("https://n.test",)), disk),
        lambda: withdraw(root, disk),
        lambda: apply(root, WITH_DEFAULT, disk),
        lambda: cleanup(root, disk),
    ]
    for use in uses:
        assert use()
    assert harvest(root) == before
    assert attributes(root) == kept


def test_a_new_original_keeps_them_too(root: Path) -> None:
    put(root, "quay.io")
    assert apply(root, CHOICE)
    (root / "quay.io/hosts.toml").unlink()
    marked(put(root, "quay.io", b"# by a tool\n"))
    kept = attributes(root)["quay.io/hosts.toml"]
    assert apply(root, CHOICE)
    assert cleanup(root)
    assert attributes(root) == {"quay.io/hosts.toml": kept}


@settings(thorough, max_examples=60)
@given(trees(), choices, runs)
def test_they_come_back_after_a_crash_at_any_point(tree: dict[str, Entry], choice: Choice, run: Run) -> None:
    with quick_folder() as root:
        plant(root, tree)
        for path in root.glob("*/hosts.toml"):
            if path.is_file() and not path.is_symlink():
                os.utime(path, ns=(10**18, 10**18))
        before, kept = harvest(root), attributes(root)
        apply(root, choice)
        perform(root, run)
        assert cleanup(root)
        assert harvest(root) == before
        assert attributes(root) == kept


class Killer:
    """Ends the process, as it were, before the system call number `at` that may change a file."""

    EVENTS = frozenset({"open", "ctypes.dlsym", "os.mkdir", "os.rmdir", "os.rename", "os.remove"})
    MORE = frozenset({"os.chmod", "os.chown", "os.utime", "os.setxattr"})

    def __init__(self) -> None:
        self._left: int | None = None
        sys.addaudithook(self._saw)

    @contextmanager
    def killing(self, at: int) -> Iterator[None]:
        self._left = at
        try:
            yield
        finally:
            self._left = None

    def _saw(self, event: str, _: object) -> None:
        if self._left is None or event not in self.EVENTS | self.MORE:
            return
        self._left -= 1
        if self._left < 0:
            raise Crash


@pytest.fixture(scope="module")
def killer() -> Killer:
    return Killer()


TREE: dict[str, Entry] = {
    "quay.io": ("folder", b"", 0o755),
    "quay.io/hosts.toml": ("file", EXISTING, 0o640),
    "docker.io": ("folder", b"", 0o700),
}


@pytest.mark.parametrize("choice", [CHOICE, WITH_DEFAULT], ids=["named", "default"])
@pytest.mark.parametrize("cleans", [False, True])
def test_a_kill_at_any_system_call_shadows_nothing(killer: Killer, choice: Choice, *, cleans: bool) -> None:
    """A folder of ours always has its file, and one of the operator's always has theirs or ours."""
    points = 0
    while True:
        with quick_folder() as root:
            plant(root, TREE)
            marked(root / "quay.io/hosts.toml")
            before, kept = harvest(root), attributes(root)
            if cleans:
                apply(root, choice)
            finished = False
            try:
                with killer.killing(points):
                    assert cleanup(root) if cleans else apply(root, choice)
                finished = True
            except Crash:
                points += 1
            for folder in {path.name for path in root.iterdir()} - {".heliograph", "docker.io"}:
                assert (root / folder / "hosts.toml").is_file(), (points, folder)
            assert cleanup(root)
            assert harvest(root) == before, points
            assert attributes(root) == kept, points
        if finished:
            break
    assert points > 20
