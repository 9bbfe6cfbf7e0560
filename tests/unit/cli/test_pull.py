"""The pull client against a registry that misbehaves in one way at a time."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heliograph_cli.errors import Failure, PullFailed, Unreachable
from heliograph_cli.layout import Layout
from heliograph_cli.pull import Nowhere, Pulled, pull
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.image import CONFIG, INDEX, LAYER, MANIFEST, ImagePart
from heliograph_shared.platforms import this_platform
from heliograph_shared.reference import Reference, parse_reference
from tests.support.ports import free_port
from tests.unit.cli.fake_registry import FakeRegistry

REFERENCE = parse_reference("reg.test:5000/team/app:1.0")
BIG = bytes(range(256)) * 4096


class Image:
    """An index of two platforms in a registry."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.layers = [registry.put(body, LAYER) for body in (b"one", BIG, b"one")]
        self.config = registry.put(b"{}", CONFIG)
        self.manifest = registry.put_json(MANIFEST, {"config": self.config, "layers": self.layers})
        other = registry.put_json(MANIFEST, {"config": self.config, "layers": []})
        self.index = registry.put_json(
            INDEX, {"manifests": [_for("other", other), _for(this_platform().architecture, self.manifest)]}
        )
        registry.tags["1.0"] = Digest(str(self.index["digest"]))

    @property
    def big(self) -> str:
        return str(self.layers[1]["digest"])


class Watched:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.sizes: dict[Digest, int] = {}
        self.received_bytes: dict[Digest, int] = {}

    def began(self, blob: ImagePart) -> None:
        self.sizes[blob.digest] = blob.size_bytes

    def received(self, digest: Digest, size_bytes: int) -> None:
        self.received_bytes[digest] = self.received_bytes.get(digest, 0) + size_bytes


def _for(architecture: str, descriptor: dict[str, object]) -> dict[str, object]:
    return {**descriptor, "platform": {"os": "linux", "architecture": architecture}}


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry().serve() as registry:
        yield registry


@pytest.fixture
def image(registry: FakeRegistry) -> Image:
    return Image(registry)


async def verify(registry: FakeRegistry, reference: Reference = REFERENCE) -> Pulled:
    return await pull(reference, registry.url, Nowhere(), Watched())


async def test_an_index_leads_to_this_platforms_manifest_and_its_blobs_once_each(image: Image) -> None:
    pulled = await verify(image.registry)
    assert [part.kind for part in pulled.parts] == ["index", "manifest", "config", "layer", "layer"]
    wanted = [image.index, image.manifest, image.config, *image.layers[:2]]
    assert [part.digest for part in pulled.parts] == [descriptor["digest"] for descriptor in wanted]
    assert pulled.size_bytes == sum(int(str(descriptor["size"])) for descriptor in wanted)


async def test_the_mirror_is_asked_as_containerd_asks(image: Image) -> None:
    await verify(image.registry)
    first, second = image.registry.asked[:2]
    assert (first.method, first.path) == ("HEAD", "/v2/team/app/manifests/1.0")
    assert (second.method, second.path) == ("GET", f"/v2/team/app/manifests/{image.index['digest']}")
    assert {request.namespace for request in image.registry.asked} == {"reg.test:5000"}
    assert MANIFEST in second.headers["accept"]
    assert second.headers["accept-encoding"] == "identity"


async def test_a_mirror_without_head_is_asked_by_get(image: Image) -> None:
    image.registry.knows_head = False
    assert (await verify(image.registry)).parts[0].digest == image.index["digest"]


async def test_a_digest_needs_no_tag(image: Image) -> None:
    reference = parse_reference(f"reg.test:5000/team/app@{image.manifest['digest']}")
    assert [part.kind for part in (await verify(image.registry, reference)).parts][:2] == [
        "manifest",
        "config",
    ]
    assert all(request.method == "GET" for request in image.registry.asked)


async def test_a_pulled_image_is_a_layout_that_names_it(image: Image, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    pulled = await pull(REFERENCE, image.registry.url, layout, Watched())
    assert layout.images()[str(REFERENCE)].digest == image.index["digest"]
    assert set(layout.digests()) == {part.digest for part in pulled.parts}
    assert all(digest_of(layout.path_of(digest).read_bytes()) == digest for digest in layout.digests())


async def test_bodies_that_end_early_are_resumed_where_they_ended(image: Image) -> None:
    image.registry.cuts[image.big] = [1000, 2000]
    watched = Watched()
    await pull(REFERENCE, image.registry.url, Nowhere(), watched)
    assert image.registry.ranges(image.big) == ["", "bytes=1000-", "bytes=3000-"]
    assert watched.received_bytes == watched.sizes


async def test_a_mirror_that_resumes_from_the_start_is_listened_to_again(image: Image) -> None:
    image.registry.cuts[image.big], image.registry.ignores_ranges = [1000, 70_000], True
    watched = Watched()
    await pull(REFERENCE, image.registry.url, Nowhere(), watched)
    assert watched.received_bytes == watched.sizes


async def test_a_body_that_never_ends_well_fails_the_pull(image: Image, tmp_path: Path) -> None:
    image.registry.cuts[image.big] = [10, 10, 10, 10]
    layout = Layout(tmp_path)
    layout.create()
    with pytest.raises(PullFailed, match=f"ended at byte 30 of {len(BIG)}"):
        await pull(REFERENCE, image.registry.url, layout, Watched())
    assert not layout.path_of(Digest(image.big)).exists()
    assert list((tmp_path / "ingest").iterdir()) == []
    assert layout.images() == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [(BIG[::-1], "wrong bytes"), (BIG + b"more", "longer than"), (BIG[:-1], "ended at byte")],
)
async def test_other_bytes_than_the_digests_are_refused(image: Image, body: bytes, reason: str) -> None:
    image.registry.blobs[image.big] = body
    with pytest.raises(PullFailed, match=reason):
        await verify(image.registry)


@pytest.mark.parametrize("body", [b"", b"{}", b"[" * 100_000, b'{"manifests": [{"digest": "x"}]}', b"\xff"])
async def test_a_tag_that_names_no_manifest_fails_readably(registry: FakeRegistry, body: bytes) -> None:
    registry.tags["1.0"] = Digest(str(registry.put(body)["digest"]))
    with pytest.raises(PullFailed, match="not a manifest"):
        await verify(registry)


async def test_a_manifest_with_other_bytes_is_refused(image: Image) -> None:
    image.registry.blobs[str(image.manifest["digest"])] = json.dumps({"config": {}}).encode()
    with pytest.raises(PullFailed, match="other bytes"):
        await verify(image.registry)


async def test_an_endless_manifest_is_cut_off(registry: FakeRegistry) -> None:
    registry.tags["1.0"] = Digest(str(registry.put(bytes(5 << 20))["digest"]))
    with pytest.raises(PullFailed, match="more than 4194304 bytes"):
        await verify(registry)


async def test_indexes_that_hold_themselves_come_to_an_end(registry: FakeRegistry) -> None:
    descriptor = registry.put_json(INDEX, {"manifests": []})
    for _ in range(10):
        descriptor = registry.put_json(INDEX, {"manifests": [descriptor]})
    registry.tags["1.0"] = Digest(str(descriptor["digest"]))
    with pytest.raises(PullFailed, match="too many indexes"):
        await verify(registry)


async def test_the_mirrors_own_reason_is_told(image: Image) -> None:
    image.registry.refusals[image.big] = "peers-failed"
    with pytest.raises(PullFailed, match=r"answered 404 to /v2/team/app/blobs/sha256:\w+: peers-failed"):
        await verify(image.registry)


async def test_the_specs_message_is_told_where_there_is_no_own_reason(registry: FakeRegistry) -> None:
    reference = parse_reference(f"reg.test/app@{digest_of(b'')}")
    with pytest.raises(PullFailed, match="MANIFEST_UNKNOWN: manifest unknown"):
        await verify(registry, reference)


async def test_redirects_are_followed_but_not_in_a_loop(image: Image) -> None:
    async with FakeRegistry(redirects_to=image.registry.url).serve() as front:
        assert len((await verify(front)).parts) == 5
        front.redirects_to = front.url
        with pytest.raises(PullFailed, match="redirect loop"):
            await verify(front)


@pytest.mark.parametrize("url", ["", "127.0.0.1:5000", "ftp://127.0.0.1", "http://", "http://[::1"])
async def test_what_is_no_url_is_said_to_be_none(url: str) -> None:
    with pytest.raises(Unreachable):
        await pull(REFERENCE, url, Nowhere(), Watched())


async def test_a_mirror_that_does_not_listen_is_said_not_to() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable) as failed:
        await pull(REFERENCE, url, Nowhere(), Watched())
    assert (failed.value.what, failed.value.address) == ("registry", url)


async def test_a_pull_that_is_given_up_leaves_no_draft(image: Image, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()

    class GivesUp(Watched):
        def received(self, digest: Digest, size_bytes: int) -> None:
            task.cancel()

    task = asyncio.ensure_future(pull(REFERENCE, image.registry.url, layout, GivesUp()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((tmp_path / "ingest").iterdir()) == []


async def test_a_full_disk_is_a_readable_failure(image: Image, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    (tmp_path / "ingest").rmdir()
    with pytest.raises(Failure, match="No such file or directory"):
        await pull(REFERENCE, image.registry.url, layout, Watched())
