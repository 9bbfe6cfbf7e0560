"""A directory is watched from the moment on that the watch is entered, or looked at every second."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heliograph_indexer.adapters import directory_watch
from heliograph_indexer.adapters.directory_watch import watch_directory
from tests.support.waiting import eventually

DEADLINE_S = 10


async def reported(changes: AsyncIterator[frozenset[Path]], path: Path) -> None:
    """Wait until `path` is among what is reported."""
    async with asyncio.timeout(DEADLINE_S):
        async for paths in changes:
            if path in paths:
                return


async def test_what_happens_after_entering_is_reported(tmp_path: Path) -> None:
    async with watch_directory(tmp_path) as watch:
        (tmp_path / "file").write_text("content")
        await reported(watch.changes(), tmp_path / "file")


async def test_a_file_that_leaves_is_reported(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_text("content")
    async with watch_directory(tmp_path) as watch:
        (tmp_path / "sub" / "file").unlink()
        await reported(watch.changes(), tmp_path / "sub" / "file")


@pytest.mark.parametrize("missing", ["blobs", "content/blobs"])
async def test_a_directory_that_comes_is_reported_itself_without_complaint(
    tmp_path: Path, missing: str
) -> None:
    path = tmp_path / missing
    with capture_logs() as lines:
        async with watch_directory(path) as watch:
            changes = watch.changes()
            came = asyncio.create_task(reported(changes, path))
            await asyncio.sleep(0.3)
            path.mkdir(parents=True)
            await came
            (path / "file").write_text("content")
            await reported(changes, path / "file")
    assert lines == []


async def test_a_directory_that_was_replaced_is_watched_in_its_new_place(tmp_path: Path) -> None:
    path = tmp_path / "layout"
    path.mkdir()
    seen: set[Path] = set()
    async with watch_directory(path) as watch, asyncio.TaskGroup() as group:

        async def collect() -> None:
            async for paths in watch.changes():
                seen.update(paths)

        def written_and_seen() -> bool:
            (path / "file").write_text("content")
            return path / "file" in seen

        reader = group.create_task(collect())
        path.rename(tmp_path / "old")
        path.mkdir()
        await eventually(written_and_seen, DEADLINE_S, interval=0.05)
        reader.cancel()


async def test_a_directory_that_was_deleted_and_made_again_is_found(tmp_path: Path) -> None:
    path = tmp_path / "layout"
    path.mkdir()
    async with watch_directory(path) as watch:
        changes = watch.changes()
        shutil.rmtree(path)
        await reported(changes, path)
        path.mkdir()
        await reported(changes, path)


async def test_without_inotify_it_logs_one_warning_and_asks_for_listings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of inotify instances is the machine's, so watchfiles' failure is played here."""

    def exhausted(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("watchfiles.main.RustNotify", exhausted)
    monkeypatch.setattr(directory_watch, "_POLL_S", 0.02)
    with capture_logs() as lines:
        async with watch_directory(tmp_path) as watch, asyncio.timeout(DEADLINE_S):
            changes = watch.changes()
            for _ in range(3):
                assert await anext(changes) == frozenset()
            monkeypatch.undo()
            await reported(changes, tmp_path)
            (tmp_path / "file").write_text("content")
            await reported(changes, tmp_path / "file")
    assert [(line["log_level"], line["path"]) for line in lines] == [
        ("warning", str(tmp_path)),
        ("info", str(tmp_path)),
    ]
    assert "Too many open files" in lines[0]["reason"]
