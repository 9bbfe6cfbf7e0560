"""What `kubectl apply -k` would send, as Python objects."""

import os
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"
SERVICES = ("configurator", "indexer", "registry", "router")
OVERLAYS = ("default", "kind", "k3s", "talos", "eks", "gke")
# An overlay, and the components that an operator adds to it.
MIXES = (
    *((overlay,) for overlay in OVERLAYS),
    ("default", "basic-auth"),
    ("default", "cleanup"),
    ("default", "external-nats"),
    ("default", "ipv6"),
    ("default", "tls"),
    ("default", "tls", "ipv6", "basic-auth"),
    ("default", "ipv6", "tls", "external-nats"),
    ("k3s", "tls", "basic-auth"),
    ("talos", "ipv6", "cleanup"),
    ("eks", "external-nats", "basic-auth"),
    ("gke", "tls", "cleanup"),
)

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Container:
    """A container of any kind, with the pod it is in."""

    name: str
    spec: Manifest
    pod: Manifest

    @property
    def environment(self) -> dict[str, str]:
        """Literal values; references to the downward API are left out."""
        return {entry["name"]: entry["value"] for entry in self.spec.get("env", []) if "value" in entry}

    def host_paths(self) -> set[tuple[str, str]]:
        """Folders of the node that are mounted, each with `ro` or `rw`."""
        volumes = {volume["name"]: volume for volume in self.pod.get("volumes", [])}
        return {
            (volumes[mount["name"]]["hostPath"]["path"], "ro" if mount.get("readOnly") else "rw")
            for mount in self.spec.get("volumeMounts", [])
            if "hostPath" in volumes[mount["name"]]
        }


@cache
def render(folder: Path) -> list[Manifest]:
    """Every object of a kustomization; do not change what is returned."""
    built = subprocess.run(
        [KUBECTL, "kustomize", folder], check=True, capture_output=True, text=True, timeout=60
    )
    return [document for document in yaml.safe_load_all(built.stdout) if document]


def default() -> list[Manifest]:
    return render(DEPLOY / "overlays" / "default")


@cache
def mixed(overlay: str, *components: str) -> list[Manifest]:
    """Render an overlay with further components; do not change what is returned."""
    if not components:
        return render(DEPLOY / "overlays" / overlay)
    with tempfile.TemporaryDirectory() as folder:
        return with_components(Path(folder), *components, overlay=overlay)


def with_components(folder: Path, *names: str, overlay: str = "default", **more: Any) -> list[Manifest]:
    """Render an overlay with further components, as an operator's own one in `folder` would.

    `more` goes into its kustomization. A name without a slash is a component of ours.
    """

    def relative(target: Path) -> str:
        return os.path.relpath(target.resolve(), folder.resolve())

    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [relative(DEPLOY / "overlays" / overlay)],
        "components": [name if "/" in name else relative(DEPLOY / "components" / name) for name in names],
        **more,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(folder)


def shown_in(readme: Path, number: int = 0) -> str:
    """The example in YAML that a README shows, by its number from the top."""
    return readme.read_text().split("```yaml\n")[number + 1].partition("```")[0]


def rendered_as_shown(
    folder: Path, readme: Path, number: int = 0, files: Mapping[str, str] | None = None
) -> list[Manifest]:
    """Render the overlay that a README shows, as if `folder` lay beside our overlays.

    `files` are what it names besides, by their names.
    """
    text = shown_in(readme, number)
    for there in ("../default", "../../components"):
        real = os.path.relpath((DEPLOY / "overlays" / "own" / there).resolve(), folder.resolve())
        text = text.replace(f"- {there}", f"- {real}")
    (folder / "kustomization.yaml").write_text(text)
    for name, content in (files or {}).items():
        (folder / name).write_text(content)
    return render(folder)


def of_kind(kind: str, manifests: list[Manifest]) -> dict[str, Manifest]:
    return {found["metadata"]["name"]: found for found in manifests if found["kind"] == kind}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Pod specs by the name of what makes the pods."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]
        for found in manifests
        if found["kind"] in {"DaemonSet", "Deployment", "StatefulSet"}
    }


def containers(manifests: list[Manifest]) -> dict[str, Container]:
    """Containers by name, which no two pods share."""
    return {container.name: container for container in _containers(manifests)}


def _containers(manifests: list[Manifest]) -> Iterator[Container]:
    for pod in pods(manifests).values():
        for spec in [*pod.get("initContainers", []), *pod["containers"]]:
            yield Container(spec["name"], spec, pod)


def named_port(container: Container, name: str | int) -> int:
    """The number of a port that is called `name`, or is a number already."""
    if isinstance(name, int):
        return name
    ports = {port["name"]: port["containerPort"] for port in container.spec["ports"]}
    return int(ports[name])
