"""The files that a container finds in its volumes."""

import base64
from pathlib import Path

from tests.unit.deploy.manifests import Manifest, of_kind, pods

KINDS = {"secret": "Secret", "configMap": "ConfigMap"}


def contents(manifest: Manifest) -> dict[str, str]:
    """What the files hold that a ConfigMap or a Secret becomes."""
    if manifest["kind"] == "Secret":
        return {key: base64.b64decode(value).decode() for key, value in manifest["data"].items()}
    data: dict[str, str] = manifest["data"]
    return data


def write_volume(volume: Manifest, manifests: list[Manifest], folder: Path) -> None:
    """Write a volume's files as the kubelet would: a Secret, a ConfigMap, or several of them projected."""
    for source in volume.get("projected", volume).get("sources", [volume]):
        (kind,) = KINDS.keys() & source.keys()
        name = source[kind].get("name") or source[kind]["secretName"]
        data = contents(of_kind(KINDS[kind], manifests)[name])
        items = source[kind].get("items") or [{"key": key, "path": key} for key in data]
        for item in items:
            target = folder / item["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(data[item["key"]])


def bus_config(manifests: list[Manifest], folder: Path) -> Path:
    """Write what a NATS pod finds in /etc/nats; gives `folder`."""
    volumes = {volume["name"]: volume for volume in pods(manifests)["heliograph-nats"]["volumes"]}
    write_volume(volumes["config"], manifests, folder)
    return folder


def bus_user(manifests: list[Manifest], role: str) -> str:
    """`user:password`. The Secret's name is followed by a hash."""
    (found,) = [
        secret
        for name, secret in of_kind("Secret", manifests).items()
        if name.rpartition("-")[0] == f"heliograph-nats-{role}"
    ]
    return contents(found)["user"].strip()
