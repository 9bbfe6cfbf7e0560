"""An image run by runc as its manifest says: its user, rights, limits, mounts, arguments and settings.

It runs in the network of the tests, where their servers are, and without the profile of system calls
that Kubernetes adds.
"""

import json
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.images.buildah_support import RUNC, Image
from tests.support.process import Process
from tests.unit.deploy.manifests import Container as Declared

# What the downward API would say.
FIELDS = {"spec.nodeName": "node-1", "status.hostIP": "127.0.0.1", "status.podIP": "127.0.0.1"}
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
NODES_OWN = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "noexec"]},
    {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]},
]


class Container(Process):
    """A container that ends with the tests, however they end.

    `volumes` are folders for the volumes of its pod, `environment` is added to what the manifest sets.
    """

    def __init__(
        self,
        image: Image,
        declared: Declared,
        directory: Path,
        *,
        volumes: Mapping[str, Path],
        environment: Mapping[str, str],
        arguments: list[str] | None = None,
    ) -> None:
        name = f"heliograph-test-{directory.name}-{image.service}"
        bundle = directory / f"{image.service}-bundle"
        bundle.mkdir(parents=True)
        config = runtime_config(image, declared, volumes, environment, arguments)
        config["linux"]["cgroupsPath"] = f"/{name}"
        (bundle / "config.json").write_text(json.dumps(config))
        # runc forks the container. In a process namespace of their own both end with the first process of it.
        alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        super().__init__(
            image.service,
            [*alone, RUNC, "--root", bundle / "state", "run", "--bundle", bundle, name],
            directory / f"{image.service}.log",
        )

    def send(self, number: signal.Signals) -> None:
        """To runc, which passes it on."""
        for runc in _children(self.pid):
            os.kill(runc, number)

    @property
    def service_pid(self) -> int:
        """The first process of the container. Raises `ValueError` while there is none."""
        (runc,) = _children(self.pid)
        (first,) = _children(runc)
        return first


def runtime_config(
    image: Image,
    declared: Declared,
    volumes: Mapping[str, Path],
    environment: Mapping[str, str],
    arguments: list[str] | None,
) -> dict[str, Any]:
    """What containerd would make of a container's manifest, in runc's words."""
    context = {**declared.pod.get("securityContext", {}), **declared.spec["securityContext"]}
    assert context["capabilities"] == {"drop": ["ALL"]}
    own = image.config["config"]
    settings = {**dict(entry.split("=", 1) for entry in own["Env"]), **_declared(declared), **environment}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": context["runAsUser"], "gid": context["runAsGroup"]},
            "args": [*own["Entrypoint"], *(arguments or declared.spec.get("args", []))],
            "env": [f"{name}={value}" for name, value in settings.items()],
            "cwd": own.get("WorkingDir") or "/",
            "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted")},
            "noNewPrivileges": not context["allowPrivilegeEscalation"],
        },
        "root": {"path": str(image.root), "readonly": context["readOnlyRootFilesystem"]},
        "mounts": [*NODES_OWN, *_mounts(declared, volumes)],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("ipc", "mount", "pid")],
            "resources": {"memory": {"limit": memory_limit_bytes(declared)}},
        },
    }


def memory_limit_bytes(declared: Declared) -> int:
    limit = declared.spec["resources"]["limits"]["memory"]
    return int(limit[:-2]) * UNITS[limit[-2:]]


def _declared(declared: Declared) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in declared.spec.get("env", []):
        field = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
        value = entry.get("value", FIELDS.get(field, ""))
        found[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], value)
    return found


def _mounts(declared: Declared, volumes: Mapping[str, Path]) -> list[dict[str, Any]]:
    return [
        {
            "destination": mount["mountPath"],
            "type": "bind",
            "source": str(volumes[mount["name"]]),
            "options": ["rbind", "ro" if mount.get("readOnly") else "rw"],
        }
        for mount in declared.spec.get("volumeMounts", [])
    ]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found
