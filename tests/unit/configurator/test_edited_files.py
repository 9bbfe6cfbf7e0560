"""What `apply` and `cleanup` do with our files once somebody else has changed or removed them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heliograph_configurator.adapters.registry_folder import HOSTS, temporary_of
from heliograph_configurator.domain.mirror import CA_FILE, MirrorTls
from tests.unit.configurator.trees import (
    EDITED,
    EXISTING,
    TARGET,
    Choice,
    Crash,
    FailingDisk,
    apply,
    cleanup,
    folders,
    harvest,
    hosts,
    levels,
    put,
    withdraw,
)


def test_an_edited_file_is_left_and_its_original_kept(root: Path) -> None:
    put(root, "quay.io", mode=0o640)
    apply(root, Choice(registries=("quay.io", "docker.io")))
    for folder in ("quay.io", "docker.io"):
        (root / folder / "hosts.toml").write_bytes(EDITED)
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
    assert (root / "quay.io/hosts.toml").read_bytes() == EDITED
    assert (root / "docker.io/hosts.toml").read_bytes() == EDITED
    kept = root / ".heliograph/originals/quay.io.toml"
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (EXISTING, 0o640)


@pytest.mark.parametrize("damage", [b"", b" \n", b"[host\n", b"\xff"])
def test_a_damaged_file_is_repaired_on_request(root: Path, damage: bytes) -> None:
    path = put(root, "quay.io", mode=0o640)
    choice = Choice(registries=("quay.io",), repair=True)
    before = harvest(root)
    apply(root, choice)
    ours = path.read_bytes()

    path.write_bytes(damage)
    assert apply(root, replace(choice, repair=False))
    assert path.read_bytes() == damage
    with capture_logs() as logs:
        assert apply(root, choice)
    assert path.read_bytes() == ours
    assert [entry["folder"] for entry in levels(logs, "warning")] == ["quay.io"]
    kept = root / ".heliograph/damaged/quay.io.toml"
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (damage, 0o640)

    path.write_bytes(EDITED)
    assert apply(root, choice)
    assert path.read_bytes() == EDITED
    path.write_bytes(ours)
    assert cleanup(root)
    assert harvest(root) == before


def test_an_edited_file_is_left_through_a_withdrawal(root: Path) -> None:
    choice = Choice(registries=("quay.io", "docker.io"))
    apply(root, choice)
    (root / "quay.io/hosts.toml").write_bytes(EDITED)
    assert withdraw(root)
    assert folders(root) == {"quay.io"}
    assert apply(root, choice)
    assert (root / "quay.io/hosts.toml").read_bytes() == EDITED
    assert TARGET in hosts(root, "docker.io")["host"]


def test_an_edited_file_keeps_the_certificates_that_it_names(root: Path) -> None:
    choice = Choice(
        registries=("quay.io", "docker.io"), targets=("https://m",), tls=MirrorTls(b"ca", b"pair")
    )
    apply(root, choice)
    for folder, content in (("quay.io", f'ca = "{CA_FILE}"\n'), ("docker.io", "")):
        (root / folder / "hosts.toml").write_bytes(EDITED + content.encode())
    assert cleanup(root)
    assert {path.name for path in (root / "quay.io").iterdir()} == {"hosts.toml", CA_FILE}
    assert {path.name for path in (root / "docker.io").iterdir()} == {"hosts.toml"}


def test_after_a_file_of_ours_is_removed_the_original_can_still_be_restored(root: Path) -> None:
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


def test_a_crash_beside_an_edited_file_leaves_nothing_of_ours(root: Path) -> None:
    put(root, "quay.io")
    choice = Choice(registries=("quay.io",))
    apply(root, choice)
    for crash_at in range(12):
        with pytest.raises(Crash):
            apply(root, Choice(registries=("quay.io",), resolves_tags=False), FailingDisk(crash_at))
        if (root / "quay.io" / temporary_of(HOSTS)).exists():
            break
    (root / "quay.io/hosts.toml").write_bytes(EDITED)
    assert cleanup(root)
    assert {path.name for path in (root / "quay.io").iterdir()} == {"hosts.toml"}
