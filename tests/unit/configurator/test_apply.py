"""Which folders and files `apply` writes for which settings, and that `cleanup` removes them."""

from pathlib import Path

from structlog.testing import capture_logs

from tests.unit.configurator.trees import (
    EXISTING,
    TARGET,
    Choice,
    apply,
    cleanup,
    folders,
    hosts,
    put,
)


def test_all_registries_share_one_file_without_a_server(root: Path) -> None:
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


def test_an_empty_list_of_registries_does_not_mean_all(root: Path) -> None:
    assert apply(root, Choice(registries=()))
    assert not root.exists()


def test_the_folder_name_that_containerd_tries_first_is_written(root: Path) -> None:
    put(root, "reg.test_5000_")
    put(root, "reg.test:5000")
    assert apply(root, Choice(registries=("reg.test:5000",)))
    assert TARGET in hosts(root, "reg.test_5000_")["host"]
    assert (root / "reg.test:5000/hosts.toml").read_bytes() == EXISTING


def test_a_folder_name_with_precedence_that_appears_later_is_used(root: Path) -> None:
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


def test_cleanup_removes_the_folders_that_apply_created(root: Path) -> None:
    deep = root / "a/b"
    assert apply(deep, Choice())
    assert cleanup(deep)
    assert not root.exists()
    assert cleanup(deep)
