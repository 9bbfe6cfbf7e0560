"""What containerd makes of the files: every version asks the mirror first, falls back, and forgets it."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest

from heliograph_configurator.app import apply, cleanup
from heliograph_configurator.settings import Settings
from heliograph_shared.settings import load
from tests.e2e.conftest import ContainerdFactory
from tests.support.containerd import Containerd
from tests.support.images import Image, make_image, push
from tests.support.machines import SERIES, absent
from tests.support.ports import free_port
from tests.support.upstream import Upstream

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

every_version = pytest.mark.parametrize("series", SERIES)


@dataclass
class EmptyMirror:
    """Has nothing: answers every request with 404 and keeps what was asked, as (method, path, ns)."""

    url: str
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode("latin-1").split(" ", 2)
        parts = urlsplit(target)
        self.asked.append((method, parts.path, parse_qs(parts.query).get("ns", [""])[0]))
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def empty_mirror(
    host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[EmptyMirror]:
    port = free_port(host)
    shown = f"[{host}]" if ":" in host else host
    mirror = EmptyMirror(f"{'https' if tls else 'http'}://{shown}:{port}")
    async with await asyncio.start_server(mirror.serve, host, port, ssl=tls):
        yield mirror


@pytest.fixture
async def mirror() -> AsyncIterator[EmptyMirror]:
    async with empty_mirror() as server:
        yield server


@pytest.fixture
async def image(tmp_path: Path, upstream: Upstream) -> Image:
    made = make_image(tmp_path / "image", [2000], index=True)
    await push(made, upstream.url, "team/app", "v1")
    upstream.forget()
    return made


async def configure(node: Containerd, command: Callable[[Settings], bool], *flags: str) -> None:
    settings = load(
        Settings, "heliograph-configurator", ["--registry-config-path", str(node.certs_path), *flags]
    )
    assert await asyncio.to_thread(command, settings)


def registry_of(upstream: Upstream) -> str:
    return f"{upstream.host}:{upstream.port}"


async def pull(node: Containerd, registry: str, image: Image) -> None:
    """As if the node had never seen the image."""
    assert await node.cri.pull(f"{registry}/team/app:v1") == image.config.digest
    await node.cri.remove(f"{registry}/team/app:v1")


def everything(image: Image, registry: str) -> list[tuple[str, str, str]]:
    """What is asked for in a pull of a tag."""
    wanted = [("HEAD", "/v2/team/app/manifests/v1", registry)]
    for blob in image.pulled():
        kind = "manifests" if blob in (image.target, image.manifest) else "blobs"
        wanted.append(("GET", f"/v2/team/app/{kind}/{blob.digest}", registry))
    return wanted


@every_version
async def test_the_mirror_is_asked_first_until_it_is_taken_away(
    series: str, containerd: ContainerdFactory, upstream: Upstream, image: Image, mirror: EmptyMirror
) -> None:
    node, registry = await containerd(series), registry_of(upstream)
    for naming in (
        [],
        ["--mirrored-registries", registry],
        ["--mirrored-registries", f"a.test,http://{registry}"],
    ):
        mirror.asked.clear()
        await configure(node, apply, "--mirror-targets", mirror.url, *naming)
        await pull(node, registry, image)
        assert mirror.asked[0] == ("HEAD", "/v2/team/app/manifests/v1", registry)
        assert set(mirror.asked) >= set(everything(image, registry))

    await configure(node, cleanup)
    assert list(node.certs_path.iterdir()) == []
    mirror.asked.clear()
    await pull(node, registry, image)
    assert mirror.asked == []


@every_version
async def test_a_mirror_that_resolves_no_tags_is_asked_by_digest_only(
    series: str, containerd: ContainerdFactory, upstream: Upstream, image: Image, mirror: EmptyMirror
) -> None:
    node, registry = await containerd(series), registry_of(upstream)
    for naming in ([], ["--mirrored-registries", f"http://{registry}"]):
        mirror.asked.clear()
        await configure(node, apply, "--mirror-targets", mirror.url, "--no-resolve-tags", *naming)
        await pull(node, registry, image)
        assert [asked for asked in mirror.asked if asked[1].endswith("/v1")] == []
        assert set(mirror.asked) >= set(everything(image, registry)[1:])


@every_version
async def test_targets_are_asked_in_order_over_both_families(
    series: str, containerd: ContainerdFactory, upstream: Upstream, image: Image, mirror: EmptyMirror
) -> None:
    node, registry = await containerd(series), registry_of(upstream)
    async with empty_mirror("::1") as second:
        await configure(node, apply, "--mirror-targets", f"http://127.0.0.1:1,{second.url},{mirror.url}")
        await pull(node, registry, image)
    assert second.asked[0] == mirror.asked[0] == everything(image, registry)[0]


@every_version
async def test_what_existed_is_asked_after_the_mirror(
    series: str, containerd: ContainerdFactory, upstream: Upstream, image: Image, mirror: EmptyMirror
) -> None:
    node = await containerd(series)
    for name in ("reg.test:5000", "reg.test_5000_"):  # the second, once there, is looked for first
        mirror.asked.clear()
        async with empty_mirror() as theirs:
            node.mirror(name, theirs.url, server=upstream.url)
            before = (node.certs_path / name / "hosts.toml").read_bytes()
            named = ["--mirror-targets", mirror.url, "--mirrored-registries", "reg.test:5000"]
            await configure(node, apply, "--prepend-existing", *named)
            await pull(node, "reg.test:5000", image)
            assert mirror.asked[0] == theirs.asked[0] == everything(image, "reg.test:5000")[0]

            await configure(node, cleanup)
            assert (node.certs_path / name / "hosts.toml").read_bytes() == before
            mirror.asked.clear()
            await pull(node, "reg.test:5000", image)
            assert mirror.asked == []


@every_version
async def test_an_authority_that_lay_in_the_folder_is_still_trusted(
    series: str, containerd: ContainerdFactory, mirror: EmptyMirror, tmp_path: Path
) -> None:
    node = await containerd(series)
    async with empty_mirror(tls=self_signed(tmp_path)) as upstream:
        registry = upstream.url.removeprefix("https://")
        flags = ["--mirror-targets", mirror.url, "--mirrored-registries", upstream.url]
        await configure(node, apply, *flags)
        with pytest.raises(grpc.aio.AioRpcError):
            await node.cri.pull(f"{registry}/team/app:v1")
        assert upstream.asked == []
        await configure(node, cleanup)

        (node.certs_path / registry).mkdir()
        (node.certs_path / registry / "ca.crt").write_bytes((tmp_path / "ca.crt").read_bytes())
        await configure(node, apply, *flags)
        mirror.asked.clear()
        with pytest.raises(grpc.aio.AioRpcError, match="not found"):
            await node.cri.pull(f"{registry}/team/app:v1")
        assert mirror.asked[0] == ("HEAD", "/v2/team/app/manifests/v1", registry)
        assert ("HEAD", "/v2/team/app/manifests/v1") in {asked[:2] for asked in upstream.asked}


def self_signed(directory: Path) -> ssl.SSLContext:
    """The certificate for 127.0.0.1 that `ca.crt` in `directory` then holds."""
    certificate, key = directory / "ca.crt", directory / "ca.key"
    request = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    )
    subprocess.run(
        [*request.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
