"""Runs an image with runc as its manifest declares: user, privileges, limits, mounts, arguments, settings.

It runs in the tests' network namespace, where their servers are, and without the seccomp profile that
Kubernetes adds.
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

# Values that the downward API would provide.
FIELDS = {"spec.nodeName": "node-1", "status.hostIP": "127.0.0.1", "status.podIP": "127.0.0.1"}
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
DEFAULT_MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "noexec"]},
    {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]},
]


class Container(Process):
    """A container that stops with the tests, however they end.

    `volumes` are folders for the volumes of its pod; `environment` is added to the manifest's.
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
        # runc forks the container. In their own PID namespace both end with its first process.
        alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        super().__init__(
            image.service,
            [*alone, RUNC, "--root", bundle / "state", "run", "--bundle", bundle, name],
            directory / f"{image.service}.log",
        )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to runc, which forwards it."""
        for runc in _children(self.pid):
            os.kill(runc, number)

    @property
    def service_pid(self) -> int:
        """The PID of the container's first process. Raises `ValueError` while there is none."""
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
    """The configuration for runc, as containerd would derive it from a container's manifest."""
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
        "mounts": [*DEFAULT_MOUNTS, *_mounts(declared, volumes)],
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
