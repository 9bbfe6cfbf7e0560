"""Files that are replaced while a process runs."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from heliograph_shared.admin import admin_app
from heliograph_shared.reloading import Reloading, reloads
from heliograph_shared.runtime import StartupError


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets more time pass than there is between two looks."""
    now = [0.0]
    monkeypatch.setattr("heliograph_shared.reloading.time.monotonic", lambda: now[0])

    def advance() -> None:
        now[0] += 2

    return advance


def reload_of(file: Path, what: str = "test") -> Reloading[int]:
    return Reloading(what, [file], lambda: int(file.read_text()))


def test_a_change_is_read(tmp_path: Path, later: Callable[[], None]) -> None:
    file = tmp_path / "number"
    file.write_text("1")
    number = reload_of(file)
    file.write_text("23")
    assert number.current() == 1  # looked at just now
    later()
    assert number.current() == 23


def test_links_that_move_are_followed(tmp_path: Path, later: Callable[[], None]) -> None:
    """As the kubelet does it for a Secret: `..data` is replaced at once."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "number").write_text(name)
    data, file = tmp_path / "..data", tmp_path / "number"
    data.symlink_to("1")
    file.symlink_to("..data/number")
    number = reload_of(file)
    (tmp_path / "..new").symlink_to("2")
    (tmp_path / "..new").replace(data)
    later()
    assert number.current() == 2


def test_a_file_that_is_opened_up_later_is_read(tmp_path: Path, later: Callable[[], None]) -> None:
    """Some tools write a key first, and let others read it then."""
    file = tmp_path / "number"

    def load() -> int:
        if not file.stat().st_mode & 0o040:  # root may read it anyway
            raise PermissionError(13, "Permission denied", str(file))
        return int(file.read_text())

    file.write_text("1")
    number = Reloading("test", [file], load)
    file.write_text("23")
    file.chmod(0o600)
    later()
    assert number.current() == 1
    file.chmod(0o640)
    later()
    assert number.current() == 23


@pytest.mark.parametrize("broken", ["", "not a number", None])
async def test_a_broken_change_keeps_what_was_read_and_is_counted(
    tmp_path: Path, later: Callable[[], None], broken: str | None
) -> None:
    file = tmp_path / "number"
    file.write_text("1")
    what = f"test-{broken}"
    number = reload_of(file, what)
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    for _ in range(3):
        later()
        assert number.current() == 1
    assert reloads[what, "failed"] == 1
    file.write_text("24")
    later()
    assert number.current() == 24
    transport = httpx.ASGITransport(admin_app(lambda: None))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        metrics = (await client.get("/metrics")).text
    assert f'heliograph_file_reloads_total{{file="{what}",outcome="failed"}} 1.0' in metrics
    assert f'heliograph_file_reloads_total{{file="{what}",outcome="ok"}} 1.0' in metrics


def test_it_does_not_start_with_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="absent: No such file"):
        reload_of(tmp_path / "absent")


def test_an_unchanged_file_is_not_read(tmp_path: Path, later: Callable[[], None]) -> None:
    file, read = tmp_path / "number", []

    def load() -> int:
        read.append(file.read_text())
        return int(read[-1])

    file.write_text("1")
    number = Reloading("test", [file], load)
    for _ in range(3):
        later()
        assert number.current() == 1
    assert read == ["1"]
