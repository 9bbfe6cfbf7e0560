"""The settings that overlays give to nodes are understood by the containerds that those nodes run."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.machines import MODERN, absent, release
from tests.unit.deploy.manifests import DEPLOY

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

CONTAINERD_2, CONTAINERD_1 = "io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri"


def fragment(file: str, *path: Any) -> str:
    found: Any = yaml.safe_load((DEPLOY / "overlays" / file).read_text())
    for step in path:
        found = found[step]
    return str(found)


def plugins(series: str, settings: str, folder: Path) -> dict[str, Any]:
    """What containerd itself makes of its settings. Of a key that it does not know it says so."""
    config = folder / "config.toml"
    config.write_text(settings)
    dumped = subprocess.run(
        [release(series).program, "--config", config, "config", "dump"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "unknown key" not in dumped.stderr
    found: dict[str, Any] = tomllib.loads(dumped.stdout)["plugins"]
    return found


@pytest.mark.parametrize("series", MODERN)
@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("kind/cluster.yaml", ("containerdConfigPatches", 0)),
        ("eks/node-config.yaml", ("spec", "containerd", "config")),
        ("talos/machine.yaml", ("machine", "files", 0, "content")),
    ],
)
def test_containerd_2_is_told_what_it_understands(
    file: str, path: tuple[Any, ...], series: str, tmp_path: Path
) -> None:
    settings = fragment(file, *path)
    if "version" not in settings:  # it is merged into a file that has one
        settings = f"version = 3\n{settings}"
    images = plugins(series, settings, tmp_path)[CONTAINERD_2]
    assert images["discard_unpacked_layers"] is False
    if "config_path" in settings:
        assert images["registry"]["config_path"] == "/etc/containerd/certs.d"

    turned = re.sub(r"(discard_unpacked_layers = )false", r"\1true", settings)
    assert plugins(series, turned, tmp_path)[CONTAINERD_2]["discard_unpacked_layers"] is True


@pytest.mark.parametrize("series", ["1.6", "1.7"])
def test_containerd_1_is_told_what_it_understands(series: str, tmp_path: Path) -> None:
    settings = fragment("kind/cluster.yaml", "containerdConfigPatches", 1)
    cri = plugins(series, settings, tmp_path)[CONTAINERD_1]
    assert cri["containerd"]["discard_unpacked_layers"] is False
    assert cri["registry"]["config_path"] == "/etc/containerd/certs.d"

    turned = settings.replace("discard_unpacked_layers = false", "discard_unpacked_layers = true")
    assert plugins(series, turned, tmp_path)[CONTAINERD_1]["containerd"]["discard_unpacked_layers"] is True
