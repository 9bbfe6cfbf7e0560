"""The machinery itself: real containerds pull from a real registry, and survive a SIGKILL."""

import hashlib
from pathlib import Path

import pytest

from tests.e2e.conftest import ContainerdFactory
from tests.support.images import Image, make_image, push
from tests.support.machines import MODERN, SERIES, absent
from tests.support.otlp import OtlpReceiver, exporting_to
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

every_version = pytest.mark.parametrize("series", SERIES)
every_modern_version = pytest.mark.parametrize("series", MODERN)

KIB = 1024


@pytest.fixture
async def image(tmp_path: Path, upstream: Upstream) -> Image:
    made = make_image(tmp_path / "image", [64 * KIB, 3000 * KIB, 10], index=True)
    await push(made, upstream.url, "team/app", "v1")
    upstream.forget()
    return made


@every_version
async def test_a_pull_goes_to_the_registry_that_hosts_toml_names(
    series: str, containerd: ContainerdFactory, upstream: Upstream, image: Image
) -> None:
    node = await containerd(series)
    node.mirror("reg.test", upstream.url, server="http://127.0.0.1:1")

    assert await node.cri.pull("reg.test/team/app:v1") == image.config.digest

    assert node.blobs() == {blob.digest for blob in image.pulled()}
    for blob in image.pulled():
        content = node.blob_path(blob.digest).read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob.digest
    wanted = {("HEAD", "/v2/team/app/manifests/v1")}
    for blob in image.pulled():
        kind = "manifests" if blob in (image.target, image.manifest) else "blobs"
        wanted.add(("GET", f"/v2/team/app/{kind}/{blob.digest}"))
    await eventually(
        lambda: {(request.method, request.path) for request in upstream.requests()} >= wanted,
        message=lambda: f"the log lacks requests: {upstream.requests()}",
    )
    assert {request.namespace for request in upstream.requests()} == {"reg.test"}
    assert all(request.user_agent.startswith("containerd/") for request in upstream.requests())


@every_version
async def test_a_killed_daemon_comes_back_with_its_content(
    series: str, containerd: ContainerdFactory, upstream: Upstream, image: Image
) -> None:
    node = await containerd(series)
    node.mirror("reg.test", upstream.url)
    await node.cri.pull("reg.test/team/app:v1")
    pid = node.process.pid

    await node.kill()
    assert not node.process.running
    await node.start()

    assert node.process.pid != pid
    assert "reg.test/team/app:v1" in (await node.cri.images())[0].repo_tags
    assert set(await node.store.content()) == {blob.digest for blob in image.pulled()}


@every_version
async def test_removing_an_image_collects_its_content(
    series: str, containerd: ContainerdFactory, upstream: Upstream, image: Image
) -> None:
    node = await containerd(series)
    node.mirror("reg.test", upstream.url)
    await node.cri.pull("reg.test/team/app:v1")
    assert "reg.test/team/app:v1" in await node.store.images()

    await node.cri.remove("reg.test/team/app:v1")

    assert await node.store.images() == {}
    await eventually(lambda: node.blobs() == set(), message=lambda: f"left: {node.blobs()}")


@every_version
async def test_the_native_snapshotter_serves_where_overlayfs_cannot(
    series: str, containerd: ContainerdFactory, upstream: Upstream, image: Image
) -> None:
    node = await containerd(series, snapshotter="native")
    node.mirror("reg.test", upstream.url)
    await node.cri.pull("reg.test/team/app:v1")
    assert node.blobs() == {blob.digest for blob in image.pulled()}


@every_modern_version
async def test_a_stopped_upstream_is_not_asked(
    series: str, containerd: ContainerdFactory, upstream: Upstream, image: Image
) -> None:
    node = await containerd(series)
    node.mirror("reg.test", upstream.url)
    await upstream.stop()
    with pytest.raises(Exception, match="connection refused"):
        await node.cri.pull("reg.test/team/app:v1")
    assert upstream.requests() == []

    await upstream.start()
    await node.cri.pull("reg.test/team/app:v1")


@every_modern_version
async def test_containerd_2_continues_the_callers_trace(
    series: str,
    containerd: ContainerdFactory,
    upstream: Upstream,
    image: Image,
    otlp_receiver: OtlpReceiver,
) -> None:
    node = await containerd(series, environment=exporting_to(otlp_receiver))
    node.mirror("reg.test", upstream.url)
    trace_id, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

    await node.cri.pull("reg.test/team/app:v1", traceparent=f"00-{trace_id}-{caller}-01")

    spans = await eventually(
        lambda: otlp_receiver.spans("runtime.v1.ImageService/PullImage"),
        message=lambda: f"no such span: {[span.name for span in otlp_receiver.spans()]}",
    )
    assert (spans[0].trace_id, spans[0].parent_span_id) == (trace_id, caller)
    assert (spans[0].kind, spans[0].service_name) == ("server", "containerd")
