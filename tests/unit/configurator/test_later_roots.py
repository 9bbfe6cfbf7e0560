"""With several folders in containerd's `config_path`, those after the first still apply."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heliograph_configurator.app import apply as apply_command
from heliograph_configurator.settings import Settings
from heliograph_shared.settings import load
from tests.unit.configurator.trees import (
    EXISTING,
    TARGET,
    Choice,
    apply,
    cleanup,
    folders,
    harvest,
    hosts,
    levels,
    put,
)

R5 = "r5.test:6000"


@pytest.fixture
def later(root: Path) -> Path:
    return root.parent / "docker"


@pytest.mark.parametrize("registries", [None, (R5, "docker.io")])
def test_certificates_of_a_later_root_are_named_for_the_registry(
    root: Path, later: Path, registries: tuple[str, ...] | None
) -> None:
    for name in ("ca.crt", "client.cert", "client.key"):
        put(later, R5, b"pem", name)
    before = harvest(later)
    choice = Choice(registries=registries, later=(later,))
    assert apply(root, choice)
    assert folders(root) == {"_default" if registries is None else "docker.io", R5}
    written = hosts(root, R5)
    assert list(written["host"]) == [TARGET]
    assert written["ca"] == [f"{later}/{R5}/ca.crt"]
    assert written["client"] == [[f"{later}/{R5}/client.cert", f"{later}/{R5}/client.key"]]
    with capture_logs() as logs:
        assert apply(root, choice)
    assert [entry["changed"] for entry in logs] == [0]

    (later / R5).rename(later / "r5.test_7000_")
    assert apply(root, replace(choice, registries=None))
    assert folders(root) == {"_default", "r5.test:7000"}
    (later / "r5.test_7000_").rename(later / R5)
    assert cleanup(root)
    assert harvest(later) == before
    assert not root.exists()


@pytest.mark.parametrize("prepend", [False, True])
def test_hosts_of_a_later_root_follow_the_mirror(root: Path, later: Path, *, prepend: bool) -> None:
    put(later, "quay.io", EXISTING + b'client = ["a.pem", ["b.pem", "/c.pem"]]\n')
    put(later, "r5.test_6000_", b'server = "https://first.test"\n')
    put(later, R5, b'server = "https://second.test"\n')
    assert apply(root, Choice(prepend=prepend, later=(later,)))
    written = hosts(root, "quay.io")
    assert list(written["host"]) == [TARGET, "https://proxy.test"]
    assert written["host"]["https://proxy.test"] == {
        "ca": f"{later}/quay.io/proxy.crt",
        "client": [f"{later}/quay.io/a.pem", [f"{later}/quay.io/b.pem", "/c.pem"]],
    }
    assert written["server"] == "https://quay.io"
    assert hosts(root, R5)["server"] == "https://first.test"


def test_the_default_of_a_later_root_follows_the_mirror_in_ours(root: Path, later: Path) -> None:
    last = root.parent / "last"
    put(later, "_default", b'[host."https://proxy.test"]\n')
    put(last, "quay.io")
    assert apply(root, Choice(later=(root.parent / "absent", later, last)))
    assert list(hosts(root, "_default")["host"]) == [TARGET, "https://proxy.test"]
    assert folders(root) == {"_default"}, "containerd did not look into the last root either"


def test_a_folder_of_the_operator_in_the_first_root_hides_the_later_ones_as_before(
    root: Path, later: Path
) -> None:
    put(later, "quay.io")
    put(later, R5, b"pem", "ca.crt")
    put(root, "r5.test_6000_")
    assert apply(root, Choice(later=(later,)))
    assert folders(root) == {"_default", "quay.io", "r5.test_6000_"}
    assert cleanup(root)
    put(root, "_default", b'[host."https://proxy.test"]\n')
    assert apply(root, Choice(prepend=True, later=(later,)))
    assert folders(root) == {"_default", "r5.test_6000_"}


def test_a_file_of_a_later_root_that_containerd_ignores_counts_for_its_certificates(
    root: Path, later: Path
) -> None:
    put(later, "quay.io", b'[host."https://proxy.test"]\nca = true\n')
    put(later, "quay.io", b"pem", "ca.crt")
    assert apply(root, Choice(later=(later,)))
    written = hosts(root, "quay.io")
    assert (list(written["host"]), written["ca"]) == ([TARGET], [f"{later}/quay.io/ca.crt"])


def test_no_default_is_written_that_would_hide_what_cannot_be_kept(root: Path, later: Path) -> None:
    assert apply(root, Choice(later=(later,)))
    put(later, "quay.io", b'[host]\n"https://proxy.test".capabilities = ["pull"]\n')
    put(later, "reg.test", b"pem", "ca.crt")
    with capture_logs() as logs:
        assert not apply(root, Choice(later=(later,)))
    assert {entry["file"] for entry in levels(logs, "error")} == {"quay.io/hosts.toml"}
    assert folders(root) == {"reg.test"}
    (later / "quay.io/hosts.toml").unlink()
    assert apply(root, Choice(later=(later,)))
    assert folders(root) == {"_default", "quay.io", "reg.test"}


def test_the_setting_lists_the_roots_as_containerd_does(root: Path, later: Path) -> None:
    put(later, R5, b"pem", "ca.crt")
    settings = load(Settings, "heliograph-configurator", ["--registry-config-path", f"{root}:{later}"])
    assert apply_command(settings)
    assert folders(root) == {"_default", R5}
