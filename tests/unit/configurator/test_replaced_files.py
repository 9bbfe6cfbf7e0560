"""A tool that writes its own files again, as k3s does at every start: they are new originals."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heliograph_configurator.domain.mirror import MirrorTls
from tests.unit.configurator.trees import (
    EXISTING,
    TARGET,
    Choice,
    apply,
    cleanup,
    folders,
    harvest,
    hosts,
    k3s_writes,
    levels,
    plant,
    withdraw,
)

PREPENDED = Choice(registries=("quay.io",), prepend=True)


@pytest.mark.parametrize("repair", [False, True])
def test_a_new_upstream_of_k3s_is_kept_after_the_mirror_and_restored(root: Path, *, repair: bool) -> None:
    choice = replace(PREPENDED, repair=repair, targets=("https://m.test",), tls=MirrorTls(b"ca", b"pair"))
    k3s_writes(root, "quay.io", "https://old.test")
    assert apply(root, choice)
    for endpoints in (("https://new.test",), ("https://new.test", "https://other.test"), ()):
        k3s_writes(root, "quay.io", *endpoints)
        written = harvest(root)["quay.io/hosts.toml"]
        with capture_logs() as logs:
            assert apply(root, choice)
        assert [entry["folder"] for entry in levels(logs, "warning")] == ["quay.io"]
        assert list(hosts(root, "quay.io")["host"]) == ["https://m.test", *endpoints]
        assert harvest(root)[".heliograph/originals/quay.io.toml"] == written
        with capture_logs() as logs:
            assert apply(root, choice)
        assert [entry["changed"] for entry in logs] == [0]
    before = harvest(root)["quay.io/hosts.toml"]
    k3s_writes(root, "quay.io", "https://last.test")
    last = harvest(root)["quay.io/hosts.toml"]
    assert before != last
    assert cleanup(root)
    assert harvest(root) == {"quay.io": ("folder", b"", 0o700), "quay.io/hosts.toml": last}


def test_the_same_file_written_again_gets_the_mirror_again(root: Path) -> None:
    k3s_writes(root, "quay.io", "https://same.test")
    before = harvest(root)
    for _ in range(3):
        assert apply(root, PREPENDED)
        assert list(hosts(root, "quay.io")["host"]) == [TARGET, "https://same.test"]
        k3s_writes(root, "quay.io", "https://same.test")
    assert apply(root, PREPENDED)
    assert cleanup(root)
    assert harvest(root) == before


def test_a_file_written_into_a_folder_of_ours_stays(root: Path) -> None:
    assert apply(root, PREPENDED)
    k3s_writes(root, "quay.io", "https://new.test")
    written = harvest(root)
    assert apply(root, PREPENDED)
    assert withdraw(root)
    assert harvest(root)["quay.io/hosts.toml"] == written["quay.io/hosts.toml"]
    assert apply(root, PREPENDED)
    assert cleanup(root)
    assert harvest(root) == {name: entry for name, entry in written.items() if name.startswith("quay.io")}


def test_without_prepending_it_is_replaced_with_a_warning(root: Path) -> None:
    choice = Choice(registries=("quay.io",))
    assert apply(root, choice)
    plant(root, {"quay.io/hosts.toml": ("file", EXISTING, 0o640)})
    with capture_logs() as logs:
        assert apply(root, choice)
    assert len(levels(logs, "warning")) == 2
    assert list(hosts(root, "quay.io")["host"]) == [TARGET]
    assert cleanup(root)
    assert harvest(root)["quay.io/hosts.toml"] == ("file", EXISTING, 0o640)


def test_a_registry_that_is_not_named_any_more_keeps_the_new_file(root: Path) -> None:
    assert apply(root, PREPENDED)
    k3s_writes(root, "quay.io", "https://new.test")
    written = harvest(root)["quay.io/hosts.toml"]
    assert apply(root, Choice(registries=()))
    assert folders(root) == {"quay.io"}
    assert harvest(root)["quay.io/hosts.toml"] == written
