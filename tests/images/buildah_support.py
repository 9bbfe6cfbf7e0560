"""Buildah with its own storage, and the images that it built there."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.support.containerd import usable_snapshotter
from tests.support.machines import machines_path

BUILDERS = machines_path().with_name("builders")
BUILDAH = BUILDERS / "bin" / "buildah"
RUNC = BUILDERS / "bin" / "runc"

STORAGE = """\
[storage]
driver = "{driver}"
graphroot = "{directory}/graph"
runroot = "{directory}/run"
"""


@dataclass(frozen=True)
class Image:
    """`root` is the mounted file system; `config` and `layers` (base first) are as a node pulls them."""

    service: str
    name: str
    root: Path
    config: Mapping[str, Any]
    layers: tuple[Path, ...]

    @cached_property
    def own_files(self) -> list[tarfile.TarInfo]:
        """The members of the layer above the base, including whiteouts."""
        with tarfile.open(self.layers[-1]) as layer:
            return layer.getmembers()

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of every regular file above the base."""
        with tarfile.open(self.layers[-1]) as layer:
            for member in layer:
                file = layer.extractfile(member) if member.isfile() else None
                if file is not None:
                    yield member.name, file.read()


class Buildah:
    """Stores everything in `directory`, which `close` removes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        driver = "overlay" if usable_snapshotter(directory) == "overlayfs" else "vfs"
        storage = directory / "storage.conf"
        storage.write_text(STORAGE.format(driver=driver, directory=directory))
        self._policy = directory / "policy.json"
        self._policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.environment = {"CONTAINERS_STORAGE_CONF": str(storage), "BUILDAH": str(BUILDAH)}

    def __call__(self, command: str, *arguments: str | Path) -> str:
        """Return its output. Raises `AssertionError` with its error message if it fails."""
        policy = [f"--signature-policy={self._policy}"] if command in {"commit", "from", "push"} else []
        return run([BUILDAH, command, *policy, *arguments], self.environment).strip()

    def import_base(self, archive: Path, name: str) -> None:
        """Turn a root file system into an image."""
        container = self("from", "scratch")
        self("add", "--quiet", container, archive, "/")
        self("config", "--env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin", container)
        self("commit", "--quiet", "--rm", container, name)

    def image(self, service: str, name: str) -> Image:
        layout = self._directory / "layout"
        self("push", "--quiet", name, f"oci:{layout}:{service}")
        blobs = layout / "blobs"
        (manifest,) = (
            _json(blobs, entry)
            for entry in json.loads((layout / "index.json").read_text())["manifests"]
            if entry["annotations"]["org.opencontainers.image.ref.name"] == service
        )
        layers = tuple(_path(blobs, layer) for layer in manifest["layers"])
        root = Path(self("mount", self("from", name)))
        return Image(service, name, root, _json(blobs, manifest["config"]), layers)

    def close(self) -> None:
        self("umount", "--all")
        self("rm", "--all")
        # The overlay driver bind-mounts its folder onto itself.
        overlay = self._directory / "graph" / "overlay"
        if overlay.is_mount():
            run(["umount", overlay], {})
        shutil.rmtree(self._directory)


def run(command: list[str | Path], environment: Mapping[str, str]) -> str:
    """Return a command's output. Raises `AssertionError` with its error message if it fails."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, **environment}, timeout=900
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def _path(blobs: Path, descriptor: Mapping[str, Any]) -> Path:
    return blobs / str(descriptor["digest"]).replace(":", "/")


def _json(blobs: Path, descriptor: Mapping[str, Any]) -> Any:
    return json.loads(_path(blobs, descriptor).read_text())
