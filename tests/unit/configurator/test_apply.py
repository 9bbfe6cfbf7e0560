"""What apply and cleanup make of certs.d, and what they leave alone."""

import fcntl
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from heliograph_configurator.adapters import filesystem, registry_folder
from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.adapters.registry_folder import HOSTS, temporary_of
from heliograph_configurator.domain.mirror import CA_FILE, CLIENT_FILE, Tls
from heliograph_configurator.errors import Busy, PathUnusable, RecordUnusable
from tests.unit.configurator.trees import (
    Choice,
    Crash,
    FailingDisk,
    apply,
    cleanup,
    harvest,
    quick_folder,
    withdraw,
)

TARGET = "http://127.0.0.1:5000"
EXISTING = b'server = "https://quay.io"\n\n[host."https://proxy.test"]\n  ca = "proxy.crt"\n'


@pytest.fixture
def root() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder / "certs.d"


def put(
    root: Path, folder: str, content: bytes = EXISTING, name: str = "hosts.toml", mode: int = 0o644
) -> Path:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def hosts(root: Path, folder: str) -> dict[str, Any]:
    return tomllib.loads((root / folder / "hosts.toml").read_text())


def folders(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {".heliograph"}


def levels(logs: list[Any], level: str) -> list[Any]:
    return [entry for entry in logs if entry["log_level"] == level]


def test_all_registries_go_by_one_file_without_a_server(root: Path) -> None:
    assert apply(root, Choice())
    assert folders(root) == {"_default"}
    assert hosts(root, "_default") == {"host": {TARGET: {"capabilities": ["pull", "resolve"]}}}
    assert (root / "_default/hosts.toml").stat().st_mode & 0o777 == 0o644
    assert (root / "_default").stat().st_mode & 0o777 == 0o755


def test_named_registries_have_a_folder_each(root: Path) -> None:
    assert apply(root, Choice(registries=("docker.io", "http://reg.test:5000")))
    assert folders(root) == {"docker.io", "reg.test:5000"}
    assert hosts(root, "docker.io")["server"] == "https://registry-1.docker.io"
    assert hosts(root, "reg.test:5000")["server"] == "http://reg.test:5000"


def test_none_of_the_named_left_over_is_not_all(root: Path) -> None:
    assert apply(root, Choice(registries=()))
    assert not root.exists()


def test_a_spelling_that_is_looked_for_first_is_the_one_that_is_written(root: Path) -> None:
    put(root, "reg.test_5000_")
    put(root, "reg.test:5000")
    assert apply(root, Choice(registries=("reg.test:5000",)))
    assert TARGET in hosts(root, "reg.test_5000_")["host"]
    assert (root / "reg.test:5000/hosts.toml").read_bytes() == EXISTING


def test_a_spelling_that_appears_later_is_followed(root: Path) -> None:
    apply(root, Choice(registries=("reg.test:5000",)))
    put(root, "reg.test_5000_")
    assert apply(root, Choice(registries=("reg.test:5000",)))
    assert folders(root) == {"reg.test_5000_"}
    assert TARGET in hosts(root, "reg.test_5000_")["host"]


def test_registries_no_longer_named_are_restored(root: Path) -> None:
    put(root, "quay.io")
    apply(root, Choice(registries=("docker.io", "quay.io")))
    apply(root, Choice(registries=("reg.test",)))
    assert folders(root) == {"quay.io", "reg.test"}
    assert (root / "quay.io/hosts.toml").read_bytes() == EXISTING


def test_applying_again_rewrites_nothing(root: Path) -> None:
    put(root, "quay.io")
    choice = Choice(registries=("docker.io", "quay.io"), prepend=True)
    apply(root, choice)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    with capture_logs() as logs:
        assert apply(root, choice)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert [entry["changed"] for entry in logs] == [0]


def test_what_existed_is_kept_behind_the_mirror(root: Path) -> None:
    put(root, "quay.io", mode=0o600)
    put(root, "quay.io", b"certificate", "proxy.crt")
    put(root, "_default", b'[host."https://proxy.test"]\n')
    assert apply(root, Choice(prepend=True))

    merged = hosts(root, "quay.io")
    assert list(merged["host"]) == [TARGET, "https://proxy.test"]
    assert merged["host"]["https://proxy.test"] == {"ca": "proxy.crt"}
    assert merged["server"] == "https://quay.io"
    assert (root / "quay.io/hosts.toml").stat().st_mode & 0o777 == 0o600, "headers may be secrets"
    assert (root / "quay.io/proxy.crt").read_bytes() == b"certificate"
    assert list(hosts(root, "_default")["host"]) == [TARGET, "https://proxy.test"]
    assert "server" not in hosts(root, "_default")


def test_prepending_does_not_touch_what_is_not_named(root: Path) -> None:
    put(root, "quay.io")
    put(root, "docker.io", b"")
    assert apply(root, Choice(registries=("docker.io",), prepend=True))
    assert (root / "quay.io/hosts.toml").read_bytes() == EXISTING


def test_replacing_says_what_no_longer_applies(root: Path) -> None:
    put(root, "quay.io")
    with capture_logs() as logs:
        assert apply(root, Choice(registries=("quay.io",)))
    assert [entry["folder"] for entry in levels(logs, "warning")] == ["quay.io"]
    assert list(hosts(root, "quay.io")["host"]) == [TARGET]


@pytest.mark.parametrize("content", [None, b"", b"broken ["])
def test_certificates_that_containerd_used_are_still_used(root: Path, content: bytes | None) -> None:
    for name in ("ca.crt", "client.cert", "client.key"):
        put(root, "reg.test:5000", b"pem", name)
    if content is not None:
        put(root, "reg.test:5000", content)
    before = harvest(root)

    assert apply(root, Choice(registries=("reg.test:5000",)))
    written = hosts(root, "reg.test:5000")
    assert (written["ca"], written["client"]) == (["ca.crt"], [["client.cert", "client.key"]])
    assert cleanup(root)
    assert harvest(root) == before


def test_folders_that_shadow_the_default_are_named(root: Path) -> None:
    put(root, "quay.io")
    (root / "empty.test").mkdir()
    put(root, "reg.test:5000", b"pem", "ca.crt")
    with capture_logs() as logs:
        assert apply(root, Choice())
    assert [entry["folder"] for entry in levels(logs, "warning")] == [
        "empty.test",
        "quay.io",
        "reg.test:5000",
    ]
    assert (root / "quay.io/hosts.toml").read_bytes() == EXISTING


def test_a_registry_that_leaves_the_operators_default_is_named(root: Path) -> None:
    put(root, "_default", b'[host."https://proxy.test"]\n')
    with capture_logs() as logs:
        assert apply(root, Choice(registries=("docker.io",)))
    assert [entry["folder"] for entry in levels(logs, "warning")] == ["docker.io"]


def test_a_broken_file_is_replaced_and_comes_back(root: Path) -> None:
    put(root, "quay.io", b"[broken\n")
    assert apply(root, Choice(registries=("quay.io",)))
    assert TARGET in hosts(root, "quay.io")["host"]
    assert cleanup(root)
    assert (root / "quay.io/hosts.toml").read_bytes() == b"[broken\n"


def test_a_broken_file_cannot_be_prepended_to_and_the_others_are_done(root: Path) -> None:
    put(root, "quay.io", b'server = "x"\n[broken\n')
    with capture_logs() as logs:
        assert not apply(root, Choice(prepend=True))
    (error,) = levels(logs, "error")
    assert (error["file"], error["line"]) == ("quay.io/hosts.toml", 2)
    assert "Expected" in error["reason"]
    assert (root / "quay.io/hosts.toml").read_bytes() == b'server = "x"\n[broken\n'
    assert TARGET in hosts(root, "_default")["host"]


def link_of_a_file(root: Path) -> None:
    (root / "target.toml").write_bytes(EXISTING)
    (root / "quay.io").mkdir()
    (root / "quay.io/hosts.toml").symlink_to("../target.toml")


def link_of_a_folder(root: Path) -> None:
    (root / "elsewhere").mkdir()
    (root / "quay.io").symlink_to("elsewhere")


def file_for_a_folder(root: Path) -> None:
    (root / "quay.io").write_bytes(b"file")


def folder_for_a_file(root: Path) -> None:
    (root / "quay.io/hosts.toml").mkdir(parents=True)


def pipe_for_a_file(root: Path) -> None:
    (root / "quay.io").mkdir()
    os.mkfifo(root / "quay.io/hosts.toml")


def far_too_large(root: Path) -> None:
    put(root, "quay.io", b"#" * (registry_folder.MAX_FILE_BYTES + 1))


@pytest.mark.parametrize(
    "obstacle",
    [
        link_of_a_file,
        link_of_a_folder,
        file_for_a_folder,
        folder_for_a_file,
        pipe_for_a_file,
        far_too_large,
    ],
)
def test_what_is_no_plain_file_in_a_plain_folder_is_left(
    root: Path, obstacle: Callable[[Path], None]
) -> None:
    root.mkdir()
    obstacle(root)
    before = {path: path.lstat().st_mtime_ns for path in root.rglob("*")}
    with capture_logs() as logs:
        assert not apply(root, Choice(registries=("quay.io", "docker.io")))
    (error,) = levels(logs, "error")
    assert error["folder"] == "quay.io"
    assert error["reason"]
    assert {path: path.lstat().st_mtime_ns for path in before} == before
    assert TARGET in hosts(root, "docker.io")["host"]
    assert cleanup(root)
    assert {path: path.lstat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_folder_that_cannot_be_written_keeps_nobody_else_waiting(root: Path) -> None:
    class Full(Disk):
        def write(self, path: Path, content: bytes, mode: int) -> None:
            super().write(path, content, mode)
            if path.parent.name == "quay.io":
                raise OSError(28, "No space left on device")

    put(root, "quay.io")
    before = harvest(root)
    with capture_logs() as logs:
        assert not apply(root, Choice(registries=("quay.io", "docker.io")), Full())
    assert [entry["reason"] for entry in levels(logs, "error")] == ["No space left on device"]
    assert (root / "quay.io/hosts.toml").read_bytes() == EXISTING
    assert temporary_of(HOSTS) not in {path.name for path in root.rglob("*")}
    assert TARGET in hosts(root, "docker.io")["host"]
    assert cleanup(root)
    assert harvest(root) == before


def test_an_edited_file_is_left_and_its_original_kept(root: Path) -> None:
    put(root, "quay.io", mode=0o640)
    apply(root, Choice(registries=("quay.io", "docker.io")))
    for folder in ("quay.io", "docker.io"):
        (root / folder / "hosts.toml").write_bytes(b"# mine\n")
    uses: list[Callable[[Path], bool]] = [
        lambda root: apply(root, Choice(registries=("quay.io", "docker.io"))),
        cleanup,
    ]
    for use in uses:
        with capture_logs() as logs:
            assert use(root)
        assert {entry["folder"]: entry["original_kept"] for entry in levels(logs, "warning")} == {
            "quay.io": True,
            "docker.io": False,
        }
    assert (root / "quay.io/hosts.toml").read_bytes() == b"# mine\n"
    assert (root / "docker.io/hosts.toml").read_bytes() == b"# mine\n"
    kept = root / ".heliograph/originals/quay.io.toml"
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (EXISTING, 0o640)


@pytest.mark.parametrize("damage", [b"", b" \n", b"[host\n", b"\xff"])
def test_a_damaged_file_is_mended_where_that_is_wanted(root: Path, damage: bytes) -> None:
    path = put(root, "quay.io", mode=0o640)
    choice = Choice(registries=("quay.io",), mend=True)
    before = harvest(root)
    apply(root, choice)
    ours = path.read_bytes()

    path.write_bytes(damage)
    assert apply(root, replace(choice, mend=False))
    assert path.read_bytes() == damage
    with capture_logs() as logs:
        assert apply(root, choice)
    assert path.read_bytes() == ours
    assert [entry["folder"] for entry in levels(logs, "warning")] == ["quay.io"]
    kept = root / ".heliograph/damaged/quay.io.toml"
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (damage, 0o640)

    path.write_bytes(b"# mine\n")
    assert apply(root, choice)
    assert path.read_bytes() == b"# mine\n"
    path.write_bytes(ours)
    assert cleanup(root)
    assert harvest(root) == before


def test_what_was_edited_is_left_through_a_withdrawal(root: Path) -> None:
    choice = Choice(registries=("quay.io", "docker.io"))
    apply(root, choice)
    (root / "quay.io/hosts.toml").write_bytes(b"# mine\n")
    assert withdraw(root)
    assert folders(root) == {"quay.io"}
    assert apply(root, choice)
    assert (root / "quay.io/hosts.toml").read_bytes() == b"# mine\n"
    assert TARGET in hosts(root, "docker.io")["host"]


def test_a_password_is_for_the_owners_eyes(root: Path) -> None:
    path = put(root, "quay.io", mode=0o644)
    choice = Choice(registries=("quay.io", "docker.io"), authorization="Basic eDp5", prepend=True)
    assert apply(root, choice)
    for folder in ("quay.io", "docker.io"):
        assert (root / folder / "hosts.toml").stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert apply(root, choice)
    assert path.stat().st_mode & 0o777 == 0o600
    assert cleanup(root)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (EXISTING, 0o644)


def test_certificates_lie_beside_what_names_them_and_are_renewed(root: Path) -> None:
    put(root, "quay.io")
    choice = Choice(registries=("quay.io", "docker.io"), targets=("https://m.test",))
    before = harvest(root)
    for tls in (Tls(b"one", b"pair"), Tls(b"two", b"other pair"), Tls(client=b"pair")):
        assert apply(root, replace(choice, tls=tls))
        for folder in ("quay.io", "docker.io"):
            there = {path.name: path.read_bytes() for path in (root / folder).glob("*.pem")}
            assert there == tls.files
            assert (root / folder / CLIENT_FILE).stat().st_mode & 0o777 == 0o600
            named = hosts(root, folder)["host"]["https://m.test"]
            assert {named.get("ca"), named["client"]} - {None} == there.keys()

    (root / "quay.io" / CLIENT_FILE).chmod(0o644)
    (root / "docker.io" / CLIENT_FILE).unlink()
    assert apply(root, replace(choice, tls=Tls(client=b"pair")))
    for folder in ("quay.io", "docker.io"):
        assert (root / folder / CLIENT_FILE).stat().st_mode & 0o777 == 0o600
    assert apply(root, choice)
    assert list(root.glob("*/*.pem")) == []
    assert cleanup(root)
    assert harvest(root) == before


def test_a_file_by_the_name_of_ours_is_not_overwritten(root: Path) -> None:
    path = put(root, "quay.io", b"theirs", CA_FILE)
    with capture_logs() as logs:
        assert not apply(root, Choice(registries=("quay.io",), targets=("https://m",), tls=Tls(b"ca")))
    assert [entry["folder"] for entry in levels(logs, "error")] == ["quay.io"]
    assert cleanup(root)
    assert path.read_bytes() == b"theirs"


def test_an_edited_file_keeps_the_certificates_that_it_names(root: Path) -> None:
    choice = Choice(registries=("quay.io", "docker.io"), targets=("https://m",), tls=Tls(b"ca", b"pair"))
    apply(root, choice)
    for folder, content in (("quay.io", f'ca = "{CA_FILE}"\n'), ("docker.io", "# mine\n")):
        (root / folder / "hosts.toml").write_text(content)
    assert cleanup(root)
    assert {path.name for path in (root / "quay.io").iterdir()} == {"hosts.toml", CA_FILE}
    assert {path.name for path in (root / "docker.io").iterdir()} == {"hosts.toml"}


def test_a_removed_file_comes_back_as_it_was_first(root: Path) -> None:
    put(root, "quay.io")
    choice = Choice(registries=("quay.io",))
    apply(root, choice)
    (root / "quay.io/hosts.toml").unlink()
    assert apply(root, choice)
    assert TARGET in hosts(root, "quay.io")["host"]

    (root / "quay.io/hosts.toml").unlink()
    (root / "quay.io").rmdir()
    assert cleanup(root)
    assert (root / "quay.io/hosts.toml").read_bytes() == EXISTING


def test_what_was_put_beside_our_file_stays(root: Path) -> None:
    apply(root, Choice(registries=("quay.io",)))
    put(root, "quay.io", b"pem", "ca.crt")
    assert cleanup(root)
    assert {path.name for path in root.rglob("*")} == {"quay.io", "ca.crt"}


def test_a_crash_beside_an_edited_file_leaves_nothing_of_ours(root: Path) -> None:
    put(root, "quay.io")
    choice = Choice(registries=("quay.io",))
    apply(root, choice)
    for crash_at in range(12):
        with pytest.raises(Crash):
            apply(root, Choice(registries=("quay.io",), resolves_tags=False), FailingDisk(crash_at))
        if (root / "quay.io" / temporary_of(HOSTS)).exists():
            break
    (root / "quay.io/hosts.toml").write_bytes(b"# mine\n")
    assert cleanup(root)
    assert {path.name for path in (root / "quay.io").iterdir()} == {"hosts.toml"}


def test_cleanup_takes_away_the_folders_that_apply_made(root: Path) -> None:
    deep = root / "a/b"
    assert apply(deep, Choice())
    assert cleanup(deep)
    assert not root.exists()
    assert cleanup(deep)


def test_a_config_path_may_be_a_link(root: Path) -> None:
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
def test_a_record_that_is_not_ours_stops_everything(root: Path, content: bytes) -> None:
    put(root, "quay.io")
    apply(root, Choice(registries=("quay.io",)))
    (root / ".heliograph/record.json").write_bytes(content)
    before = harvest(root)
    uses: list[Callable[[Path], bool]] = [lambda root: apply(root, Choice()), cleanup]
    for use in uses:
        with pytest.raises(RecordUnusable, match=r"record\.json: not a record of ours"):
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


def test_two_at_once_take_turns(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir()
    monkeypatch.setattr(filesystem, "LOCK_TIMEOUT_S", 0.1)
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            apply(root, Choice())
    finally:
        os.close(descriptor)
    assert apply(root, Choice())


@pytest.mark.processes
def test_many_processes_at_once_leave_one_whole_result(root: Path) -> None:
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
