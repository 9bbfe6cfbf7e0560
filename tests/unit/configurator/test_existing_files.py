"""What `apply` does with files that were there before: kept, replaced, or left alone."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heliograph_configurator.adapters import registry_folder
from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.adapters.registry_folder import HOSTS, temporary_of
from tests.unit.configurator.trees import (
    EXISTING,
    TARGET,
    Choice,
    apply,
    cleanup,
    harvest,
    hosts,
    levels,
    put,
)


def test_existing_hosts_are_kept_after_the_mirror(root: Path) -> None:
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


def test_a_replaced_file_is_named_in_a_warning(root: Path) -> None:
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


def test_folders_that_shadow_the_default_are_named_in_warnings(root: Path) -> None:
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


def test_a_registry_that_overrides_the_operators_default_is_named_in_a_warning(root: Path) -> None:
    put(root, "_default", b'[host."https://proxy.test"]\n')
    with capture_logs() as logs:
        assert apply(root, Choice(registries=("docker.io",)))
    assert [entry["folder"] for entry in levels(logs, "warning")] == ["docker.io"]


def test_a_broken_file_is_replaced_and_restored(root: Path) -> None:
    put(root, "quay.io", b"[broken\n")
    assert apply(root, Choice(registries=("quay.io",)))
    assert TARGET in hosts(root, "quay.io")["host"]
    assert cleanup(root)
    assert (root / "quay.io/hosts.toml").read_bytes() == b"[broken\n"


def test_a_broken_file_cannot_be_prepended_to_but_other_folders_are_written(root: Path) -> None:
    put(root, "quay.io", b'server = "x"\n[broken\n')
    with capture_logs() as logs:
        assert not apply(root, Choice(prepend=True))
    (error,) = levels(logs, "error")
    assert (error["file"], error["line"]) == ("quay.io/hosts.toml", 2)
    assert "Expected" in error["reason"]
    assert (root / "quay.io/hosts.toml").read_bytes() == b'server = "x"\n[broken\n'
    assert TARGET in hosts(root, "_default")["host"]


@pytest.mark.parametrize(
    "line", ['capabilities = ["pull", "reslove"]', 'skip_verify = "true"', "ca = true", 'client = [["a"]]']
)
def test_a_file_that_containerd_ignores_is_left_and_named(root: Path, line: str) -> None:
    put(root, "quay.io", f'[host."https://proxy.test"]\n{line}\n'.encode())
    before = harvest(root / "quay.io")
    with capture_logs() as logs:
        assert not apply(root, Choice(prepend=True))
    assert [entry["file"] for entry in levels(logs, "error")] == ["quay.io/hosts.toml"]
    assert harvest(root / "quay.io") == before
    assert cleanup(root)


def test_a_file_that_some_containerds_ignore_is_kept_with_a_warning(root: Path) -> None:
    put(root, "quay.io", b'[host."https://proxy.test"]\ncapabilities = ["pull", "referrers"]\n')
    with capture_logs() as logs:
        assert apply(root, Choice(prepend=True))
    (warning,) = levels(logs, "warning")
    assert warning["versions"] == ("1.6 and 1.7", "2.0 and 2.1")
    assert list(hosts(root, "quay.io")["host"]) == [TARGET, "https://proxy.test"]


def test_the_capabilities_of_an_unnamed_server_stay_without_effect(root: Path) -> None:
    """They count only for a `server` that is named, so none may be added."""
    put(root, "quay.io", b'capabilities = ["pull"]\n[host."https://proxy.test"]\n')
    assert apply(root, Choice(registries=("quay.io",), prepend=True))
    assert "server" not in hosts(root, "quay.io")


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


def loop_for_a_folder(root: Path) -> None:
    (root / "quay.io").symlink_to("quay.io")


def loop_for_a_file(root: Path) -> None:
    (root / "quay.io").mkdir()
    (root / "quay.io/hosts.toml").symlink_to("hosts.toml")


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
        loop_for_a_folder,
        loop_for_a_file,
        far_too_large,
    ],
)
def test_anything_but_a_regular_file_in_a_real_folder_is_left(
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


@pytest.mark.parametrize("name", ["README", "README.md", "ca.crt", "hosts.toml", "quay.io"])
@pytest.mark.parametrize("prepend", [False, True])
def test_a_stray_file_is_no_folder_of_a_registry(root: Path, name: str, *, prepend: bool) -> None:
    root.mkdir()
    (root / name).write_bytes(b"stray")
    with capture_logs() as logs:
        assert apply(root, Choice(prepend=prepend))
    assert levels(logs, "warning") == levels(logs, "error") == []
    assert TARGET in hosts(root, "_default")["host"]
    assert cleanup(root)
    assert harvest(root) == {name: ("file", b"stray", 0o644)}


def test_a_folder_that_cannot_be_written_does_not_stop_the_others(root: Path) -> None:
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


def test_a_file_added_beside_ours_stays(root: Path) -> None:
    apply(root, Choice(registries=("quay.io",)))
    put(root, "quay.io", b"pem", "ca.crt")
    assert cleanup(root)
    assert {path.name for path in root.rglob("*")} == {"quay.io", "ca.crt"}
