"""A watch follows its registry, changes by others and its secrets, and restores every original file."""

import json
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from heliograph_configurator.domain.mirror import CA_FILE, CLIENT_FILE
from tests.integration.watch_support import PATIENCE_S, OneRegistry, one_registry, watching
from tests.support.authority import Authority
from tests.support.waiting import eventually
from tests.unit.configurator.trees import EDITED, cleanup, harvest, k3s_writes

THEIRS = b'server = "https://quay.io"\n\n[host."https://proxy.test"]\n'
TARGET = "http://127.0.0.1:5000"


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A certs.d with a file of the operator's."""
    folder = tmp_path / "certs.d"
    (folder / "quay.io").mkdir(parents=True)
    (folder / "quay.io/hosts.toml").write_bytes(THEIRS)
    (folder / "quay.io/hosts.toml").chmod(0o640)
    return folder


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[OneRegistry]:
    async with one_registry(tmp_path) as process:
        yield process


async def test_mirrors_are_written_while_the_registry_is_ready(
    tmp_path: Path, certs: Path, registry: OneRegistry
) -> None:
    before = harvest(certs)
    settings = {
        "registry_ready_url": registry.ready_url,
        "withdraw_after_s": 4,
        "prepend_existing": "true",
        "mirror_targets": registry.url,
    }
    async with watching(tmp_path, certs, **settings) as watch:
        await watch.start()
        await watch.unready("the registry has not been ready")
        assert harvest(certs) == before, "nothing is written before the registry is ready"

        registry.process.start()
        await watch.ready()
        assert registry.url in watch.hosts()
        assert registry.url in watch.hosts("quay.io")

        await registry.process.kill()
        await watch.unready("mirrors withdrawn")
        assert harvest(certs) == before

        registry.process.start()
        await watch.ready()
        written = harvest(certs)
        watch.process.send(signal.SIGTERM)
        assert await watch.process.ended(PATIENCE_S) == 0
        assert harvest(certs) == written, "the pod is probably only restarted"

        await registry.process.kill()
        await watch.start()
        await watch.unready("mirrors withdrawn")
        assert harvest(certs) == before, "mirrors of an earlier run are withdrawn too"


async def test_damaged_files_are_repaired_edited_files_are_left_and_new_originals_kept(
    tmp_path: Path, certs: Path
) -> None:
    before = harvest(certs)
    async with watching(
        tmp_path, certs, mirrored_registries="docker.io,quay.io,reg.test", prepend_existing="true"
    ) as watch:
        await watch.start()
        await watch.ready()
        ours = watch.hosts("quay.io")
        assert TARGET in ours

        (certs / "quay.io/hosts.toml").unlink()
        await watch.names(ours, "quay.io")
        (certs / "quay.io/hosts.toml").write_text("[host\n")
        await watch.names(ours, "quay.io")
        (certs / "docker.io/hosts.toml").unlink()
        (certs / "docker.io").rmdir()
        await watch.names(TARGET, "docker.io")
        (certs / "quay.io/hosts.toml").write_bytes(b"")
        await watch.names(ours, "quay.io")

        (certs / "reg.test/hosts.toml").write_bytes(EDITED)
        await eventually(lambda: "left as it is" in watch.process.tail(), PATIENCE_S)
        (certs / "docker.io/hosts.toml").unlink()
        await watch.names(TARGET, "docker.io")
        assert watch.hosts("reg.test") == EDITED.decode()

        k3s_writes(certs, "quay.io", "https://new.test")
        new = harvest(certs)["quay.io/hosts.toml"]
        await watch.names(TARGET, "quay.io")
        assert "https://new.test" in watch.hosts("quay.io")

        assert await watch.answers("/metrics", 200, "heliograph_configurator_mirrors_written 1.0")
        assert await watch.answers(
            "/metrics", 200, 'heliograph_configurator_folders_changed_total{change="write"}'
        )
        found = partial(watch.answers, "/debug/findings", 200, '"mirror-unreachable"')
        await eventually(found, PATIENCE_S, watch.process.tail)
        counted = 'heliograph_doctor_findings{check="mirror-unreachable",severity="error"} 1.0'
        assert await watch.answers("/metrics", 200, counted)
        await watch.process.stop()
    log = [json.loads(line) for line in (tmp_path / "configurator.log").read_text().splitlines()]
    left = [line for line in log if "left as it is" in line["event"]]
    assert [line["folder"] for line in left] == ["reg.test"], "and logged once"

    (certs / "reg.test/hosts.toml").unlink()
    assert cleanup(certs)
    restored = {"quay.io": ("folder", b"", 0o700), "quay.io/hosts.toml": new}
    assert harvest(certs) == before | restored, "the newest original"


async def test_credentials_are_renewed_without_a_restart(tmp_path: Path, certs: Path) -> None:
    authority = Authority(tmp_path / "authority")
    secrets = MountedSecret(tmp_path / "secret")
    old, new = authority.sign("old"), authority.sign("new")
    ca = authority.certificate.read_bytes()

    def version(users: str, certificate: Path, key: Path) -> dict[str, bytes]:
        files = {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes(), "ca.crt": ca}
        return {"users": users.encode(), **files}

    secrets.update(version("node:first\n", old.certificate, old.key))
    async with watching(
        tmp_path,
        certs,
        mirror_targets="https://127.0.0.1:5000",
        basic_auth_file=secrets.path / "users",
        tls_ca_file=secrets.path / "ca.crt",
        tls_cert_file=secrets.path / "tls.crt",
        tls_key_file=secrets.path / "tls.key",
    ) as watch:
        await watch.start()
        await watch.ready()
        await watch.names("Basic bm9kZTpmaXJzdA==")
        client = certs / "_default" / CLIENT_FILE
        assert (certs / "_default" / CA_FILE).read_bytes() == ca
        assert client.read_bytes() == old.certificate.read_bytes() + old.key.read_bytes()

        secrets.update(version("node:second\n", new.certificate, new.key))
        await watch.names("Basic bm9kZTpzZWNvbmQ=")
        assert client.read_bytes() == new.certificate.read_bytes() + new.key.read_bytes()

        before = harvest(certs)
        secrets.update(version("node:third\n", old.certificate, new.key))
        await watch.unready("not the key of the certificate")
        assert harvest(certs) == before, "unusable certificates are not written"
        secrets.update(version("node:third\n", new.certificate, new.key))
        await watch.ready()
        await watch.names("Basic bm9kZTp0aGlyZA==")

        client.unlink()
        await eventually(client.exists, PATIENCE_S, watch.process.tail)
    log = (tmp_path / "configurator.log").read_text()
    assert not any(word in log for word in ("first", "second", "third", "PRIVATE", "Basic "))


class MountedSecret:
    """A folder as the kubelet mounts a Secret: links into a folder that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path, self._version = path, 0
        path.mkdir()

    def update(self, files: dict[str, bytes]) -> None:
        self._version += 1
        folder = self.path / f"..{self._version}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        (self.path / "..data_tmp").symlink_to(folder.name)
        (self.path / "..data_tmp").replace(self.path / "..data")


async def test_an_occupied_admin_port_ends_the_watch_with_one_line(tmp_path: Path, certs: Path) -> None:
    async with watching(tmp_path, certs) as first:
        await first.start()
        await first.ready()
        address = first.admin.removeprefix("http://")
        async with watching(tmp_path, certs, admin_listen=address) as second:
            second.process.start()
            assert await second.process.ended(PATIENCE_S) == 1
            assert f"{address} is in use" in second.process.tail()
