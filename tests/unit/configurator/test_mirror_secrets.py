"""Passwords and certificates for the mirrors, as `apply` writes them."""

from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from heliograph_configurator.domain.mirror import CA_FILE, CLIENT_FILE, MirrorTls
from tests.unit.configurator.trees import (
    EXISTING,
    Choice,
    apply,
    cleanup,
    harvest,
    hosts,
    levels,
    put,
)


def test_a_file_with_a_password_is_readable_by_its_owner_only(root: Path) -> None:
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


def test_certificates_are_written_beside_the_file_that_names_them_and_renewed(root: Path) -> None:
    put(root, "quay.io")
    choice = Choice(registries=("quay.io", "docker.io"), targets=("https://m.test",))
    before = harvest(root)
    for tls in (MirrorTls(b"one", b"pair"), MirrorTls(b"two", b"other pair"), MirrorTls(client=b"pair")):
        assert apply(root, replace(choice, tls=tls))
        for folder in ("quay.io", "docker.io"):
            there = {path.name: path.read_bytes() for path in (root / folder).glob("*.pem")}
            assert there == tls.files
            assert (root / folder / CLIENT_FILE).stat().st_mode & 0o777 == 0o600
            named = hosts(root, folder)["host"]["https://m.test"]
            assert {named.get("ca"), named["client"]} - {None} == there.keys()

    (root / "quay.io" / CLIENT_FILE).chmod(0o644)
    (root / "docker.io" / CLIENT_FILE).unlink()
    assert apply(root, replace(choice, tls=MirrorTls(client=b"pair")))
    for folder in ("quay.io", "docker.io"):
        assert (root / folder / CLIENT_FILE).stat().st_mode & 0o777 == 0o600
    assert apply(root, choice)
    assert list(root.glob("*/*.pem")) == []
    assert cleanup(root)
    assert harvest(root) == before


def test_a_foreign_file_with_the_name_of_ours_is_not_overwritten(root: Path) -> None:
    path = put(root, "quay.io", b"theirs", CA_FILE)
    with capture_logs() as logs:
        assert not apply(root, Choice(registries=("quay.io",), targets=("https://m",), tls=MirrorTls(b"ca")))
    assert [entry["folder"] for entry in levels(logs, "error")] == ["quay.io"]
    assert cleanup(root)
    assert path.read_bytes() == b"theirs"
