"""How containerd uses the files: every version asks the mirror first, falls back, and stops after cleanup."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from heliograph_configurator.app import apply, cleanup
from heliograph_configurator.settings import Settings
from heliograph_shared.settings import load
from tests.e2e.lab_support import Lab
from tests.integration.watch_support import one_registry, watching
from tests.support.authority import Authority
from tests.support.machines import MODERN, absent
from tests.support.mirror import FakeMirror, running_mirror
from tests.unit.configurator.trees import harvest

pytestmark = [
    pytest.mark.skipif(bool(absent()), reason=absent()),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(loop_scope="module")
async def mirror() -> AsyncIterator[FakeMirror]:
    async with running_mirror() as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def configure(lab: Lab, command: Callable[[Settings], bool], *flags: str) -> None:
    path = ["--registry-config-path", str(lab.node.certs_path)]
    assert await asyncio.to_thread(command, load(Settings, "heliograph-configurator", [*path, *flags]))


async def test_the_mirror_is_asked_first_until_cleanup(lab: Lab, mirror: FakeMirror) -> None:
    for naming in (
        [],
        ["--mirrored-registries", lab.registry],
        ["--mirrored-registries", f"a.test,http://{lab.registry}"],
    ):
        mirror.forget()
        await configure(lab, apply, "--mirror-targets", mirror.url, *naming)
        await lab.pull()
        assert mirror.asked[0] == lab.everything()[0]
        assert set(mirror.asked) >= set(lab.everything())

    await configure(lab, cleanup)
    assert list(lab.node.certs_path.iterdir()) == []
    mirror.forget()
    await lab.pull()
    assert mirror.asked == []


async def test_a_mirror_that_resolves_no_tags_is_asked_by_digest_only(lab: Lab, mirror: FakeMirror) -> None:
    for naming in ([], ["--mirrored-registries", f"http://{lab.registry}"]):
        mirror.forget()
        await configure(lab, apply, "--mirror-targets", mirror.url, "--no-resolve-tags", *naming)
        await lab.pull()
        assert [asked for asked in mirror.asked if asked[1].endswith("/v1")] == []
        assert set(mirror.asked) >= set(lab.everything()[1:])


async def test_targets_are_asked_in_order_over_both_families(lab: Lab, mirror: FakeMirror) -> None:
    """Also with every setting that a host's table can have, in all its spellings."""
    async with running_mirror("::1") as second, running_mirror() as others:
        targets = f"http://127.0.0.1:1,{second.url},{mirror.url}"
        flags = ["--mirror-targets", targets, "--additional-mirror-targets", others.url]
        await configure(lab, apply, *flags, "--dial-timeout", "1m0.5s")
        await lab.pull()
    assert second.asked == mirror.asked == others.asked
    assert set(mirror.asked) >= set(lab.everything())


async def test_existing_hosts_are_asked_after_the_mirror(lab: Lab, mirror: FakeMirror) -> None:
    registry = "reg.test:5000"
    for name in (registry, "reg.test_5000_"):  # the second, once there, is looked for first
        mirror.forget()
        async with running_mirror() as theirs:
            lab.node.mirror(name, theirs.url, server=lab.upstream.url)
            before = (lab.node.certs_path / name / "hosts.toml").read_bytes()
            named = ["--mirror-targets", mirror.url, "--mirrored-registries", registry]
            await configure(lab, apply, "--prepend-existing", *named)
            await lab.pull(registry)
            assert mirror.asked[0] == theirs.asked[0] == lab.everything(registry)[0]

            await configure(lab, cleanup)
            assert (lab.node.certs_path / name / "hosts.toml").read_bytes() == before
            mirror.forget()
            await lab.pull(registry)
            assert mirror.asked == []


async def test_an_existing_ca_and_key_in_the_folder_are_still_used(
    lab: Lab, mirror: FakeMirror, authority: Authority
) -> None:
    server, client = authority.sign("server"), authority.sign("client")
    async with running_mirror(tls=authority.server(server, verify_clients=True)) as upstream:
        registry = upstream.url.removeprefix("https://")
        flags = ["--mirror-targets", mirror.url, "--mirrored-registries", upstream.url]
        await configure(lab, apply, *flags)
        await lab.fail(registry)
        assert upstream.asked == []
        await configure(lab, cleanup)

        lab.put("ca.crt", authority.certificate.read_bytes(), registry)
        lab.put("client.cert", client.certificate.read_bytes(), registry)
        lab.put("client.key", client.key.read_bytes(), registry)
        await configure(lab, apply, *flags)
        mirror.forget()
        await lab.fail(registry, "not found")
        assert mirror.asked[0] == lab.everything(registry)[0]
        assert lab.everything()[0][:2] in {asked[:2] for asked in upstream.asked}


async def test_a_mirror_with_tls_and_a_password_is_asked_and_others_get_neither(
    lab: Lab, authority: Authority, tmp_path: Path
) -> None:
    server, client = authority.sign("server"), authority.sign("client")
    (tmp_path / "users").write_text("node:secret\n")
    tls = authority.server(server, verify_clients=True)
    async with running_mirror(tls=tls) as mirror, running_mirror() as others:
        for naming in ([], ["--mirrored-registries", f"http://{lab.registry}"]):
            mirror.forget()
            others.forget()
            flags = {
                "mirror-targets": mirror.url,
                "additional-mirror-targets": others.url,
                "basic-auth-file": tmp_path / "users",
                "tls-ca-file": authority.certificate,
                "tls-cert-file": client.certificate,
                "tls-key-file": client.key,
            }
            await configure(lab, apply, *(f"--{name}={value}" for name, value in flags.items()), *naming)
            await lab.pull()
            assert set(mirror.asked) >= set(lab.everything())
            assert {request.certified for request in mirror.requests} == {True}
            shown = {request.headers.get("authorization") for request in mirror.requests}
            assert shown == {"Basic bm9kZTpzZWNyZXQ="}
            assert set(others.asked) >= set(lab.everything())
            assert {request.headers.get("authorization") for request in others.requests} == {None}
    await configure(lab, cleanup)
    assert list(lab.node.certs_path.iterdir()) == []


@pytest.mark.parametrize("lab_node", MODERN, indirect=True)
async def test_no_pull_fails_whatever_a_watch_does(lab: Lab, tmp_path: Path) -> None:
    before = harvest(lab.node.certs_path)
    async with one_registry(tmp_path) as registry:
        registry.process.start()
        settings = {"mirror_targets": registry.url, "registry_ready_url": registry.ready_url}
        async with watching(tmp_path, lab.node.certs_path, withdraw_after_s=5, **settings) as watch:
            pulls = Pulls(lab)
            async with asyncio.TaskGroup() as group:
                pulling = group.create_task(pulls.run())
                await watch.start()
                await watch.ready()
                await pulls.more()
                (lab.node.certs_path / "_default/hosts.toml").write_text("[host\n")
                await watch.names(registry.url)
                await registry.process.kill()
                await pulls.more()
                await watch.unready("mirrors withdrawn")
                assert harvest(lab.node.certs_path) == before
                registry.process.start()
                await watch.ready()
                await watch.process.stop()
                await pulls.more()
                pulling.cancel()
        assert "resolver-unavailable" in registry.process.log.read_text(), "it was asked"
    await configure(lab, cleanup)
    assert harvest(lab.node.certs_path) == before


class Pulls:
    """One after the other, none of which may fail."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._done = lab, asyncio.Condition()
        self._count = 0

    async def run(self) -> None:
        while True:
            await self._lab.pull()
            async with self._done:
                self._count += 1
                self._done.notify_all()

    async def more(self) -> None:
        """Until another one has begun and ended."""
        async with self._done:
            wanted = self._count + 2
            await self._done.wait_for(lambda: self._count >= wanted)
