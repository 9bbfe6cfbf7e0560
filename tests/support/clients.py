"""Skopeo and podman as real clients of a mirror, each with nothing of this machine's configuration."""

import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.machines import absent, machines_path

_BIN = machines_path().with_name("clients") / "bin"
_REGISTRIES = """\
[[registry]]
prefix = "reg.test"
location = "{upstream}"
insecure = true
[[registry.mirror]]
location = "{mirror}/reg.test"
insecure = true
"""


def clients_absent() -> str:
    """Why tests with them cannot run here, in one line; empty if they can."""
    return absent() or ("" if (_BIN / "podman").exists() else "no skopeo and podman: run `make machines`")


class Clients:
    """They take images of reg.test from `mirror` first, then from `upstream` (each `host:port`)."""

    def __init__(self, directory: Path, *, mirror: str, upstream: str) -> None:
        self._directory = directory
        directory.mkdir()
        (directory / "registries.conf").write_text(_REGISTRIES.format(upstream=upstream, mirror=mirror))
        policy = {"default": [{"type": "insecureAcceptAnything"}]}
        (directory / "policy.json").write_text(json.dumps(policy))
        self._taken = 0

    async def skopeo(self, reference: str, *options: str) -> tuple[int, str]:
        """Copy an image into a new OCI layout. The exit status and the output."""
        self._taken += 1
        return await self._run(
            "skopeo",
            *("--registries-conf", "registries.conf", "--policy", "policy.json"),
            *("copy", *options, f"docker://{reference}", f"oci:copy-{self._taken}:latest"),
        )

    async def podman(self, reference: str) -> tuple[int, str]:
        """Pull into a new storage. The exit status and the output."""
        with TemporaryDirectory(prefix="podman-") as storage:  # podman takes no long paths
            return await self._run(
                "podman",
                *("--root", f"{storage}/root", "--runroot", f"{storage}/run", "--tmpdir", f"{storage}/tmp"),
                *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "/bin/true"),
                *("pull", "--signature-policy", "policy.json", reference),
            )

    async def _run(self, program: str, *arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            _BIN / program,
            *arguments,
            cwd=self._directory,
            env={
                "HOME": str(self._directory),
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "CONTAINERS_REGISTRIES_CONF": str(self._directory / "registries.conf"),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(120):
            output, _ = await process.communicate()
        return process.returncode or 0, output.decode()
