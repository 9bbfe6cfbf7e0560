"""Hints of changes: every visible change gives one, and a failure to watch ends nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heliograph_configurator.adapters import inotify
from tests.support.waiting import eventually

PATIENCE_S = 20.0


class Hints:
    """Counts hints."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1

    async def after(self, change: Callable[[], object]) -> None:
        """Make a change, and wait for a hint of it."""
        await self.none()
        before = self.count
        change()
        await eventually(lambda: self.count > before, PATIENCE_S)

    async def none(self, quiet_s: float = 0.5) -> None:
        """Wait until no more come for `quiet_s`."""
        seen = -1
        while seen != self.count:
            seen = self.count
            await asyncio.sleep(quiet_s)


@asynccontextmanager
async def following(folders: Callable[[], Iterable[Path]]) -> AsyncIterator[Hints]:
    hints = Hints()
    following = asyncio.create_task(inotify.follow(folders, hints))
    try:
        yield hints
        assert not following.done()
    finally:
        following.cancel()
        await asyncio.wait([following])


async def test_files_that_are_created_changed_and_removed_give_hints(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    async with following(lambda: [tmp_path]) as hints:
        await hints.after(lambda: path.write_text("one"))
        await hints.after(lambda: path.write_text("two"))
        await hints.after(lambda: path.rename(tmp_path / "other"))
        await hints.after((tmp_path / "other").unlink)
        await hints.after(lambda: (tmp_path / "link").symlink_to("nowhere"))


async def test_folders_may_be_created_and_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "certs.d"
    async with following(lambda: [folder]) as hints:
        await hints.after(folder.mkdir)
        await hints.after(lambda: (folder / "a").write_text("a"))
        folder.rename(tmp_path / "old")
        await hints.after(folder.mkdir)
        await hints.after(lambda: (folder / "a").write_text("a"))


async def test_without_inotify_there_are_no_hints_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of inotify instances is the machine's, so watchfiles' failure is simulated here."""
    tries = 0

    def exhausted(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise OSError("inotify_init: Too many open files")

    monkeypatch.setattr("watchfiles.main.RustNotify", exhausted)
    monkeypatch.setattr(inotify, "_RETRY_S", 0.01)
    with capture_logs() as logs:
        async with following(lambda: [tmp_path]) as hints:
            await eventually(lambda: tries > 3, PATIENCE_S)
            assert hints.count == 0
    assert [entry["reason"] for entry in logs] == ["inotify_init: Too many open files"]


async def test_the_number_of_watched_folders_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "MAX_FOLDERS", 1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with following(lambda: [tmp_path / "a", tmp_path / "b"]) as hints:
        await hints.after(lambda: (tmp_path / "a/file").write_text("a"))
        await hints.none(2)
        before = hints.count
        (tmp_path / "b/file").write_text("b")
        await hints.none(1)
        assert hints.count == before
