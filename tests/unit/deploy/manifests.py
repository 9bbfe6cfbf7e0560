"""What `kubectl apply -k` would send, as Python objects."""

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"
SERVICES = ("configurator", "indexer", "registry", "router")

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


def with_components(folder: Path, *names: str) -> list[Manifest]:
    """Render the default overlay with further components, as an operator's own overlay would."""

    def relative(target: Path) -> str:
        return os.path.relpath(target.resolve(), folder.resolve())

    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [relative(DEPLOY / "overlays" / "default")],
        "components": [relative(DEPLOY / "components" / name) for name in names],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
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
