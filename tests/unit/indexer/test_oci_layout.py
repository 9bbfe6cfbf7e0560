"""A layout that other programs write to, well or badly, is announced as what it is."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heliograph_indexer.adapters.metrics import IndexerMetrics
from heliograph_indexer.adapters.oci_layout import OciLayoutStore
from heliograph_indexer.domain.content import StoreContent, TagTarget
from heliograph_indexer.errors import StoreUnavailable
from heliograph_shared.digest import Digest, digest_of

TARGET = digest_of(b"manifest")
CONTAINERD_NAME, SPEC_NAME = "io.containerd.image.name", "org.opencontainers.image.ref.name"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    write_index(tmp_path, {})
    return tmp_path


def write_index(layout: Path, tags: dict[str, Digest], annotation: str = CONTAINERD_NAME) -> None:
    entries = [{"digest": digest, "annotations": {annotation: name}} for name, digest in tags.items()]
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


def write_blob(layout: Path, body: bytes, *, name: str = "", age_s: float = 0) -> Path:
    path = layout / "blobs" / "sha256" / (name or digest_of(body).partition(":")[2])
    path.write_bytes(body)
    written = time.time() - age_s
    os.utime(path, (written, written))
    return path


async def content_of(store: OciLayoutStore) -> StoreContent:
    async with store.watch() as watch:
        return watch.content


async def changed(store: OciLayoutStore, change: Callable[[], object], times: int) -> list[str]:
    """The kinds of the first `times` events that follow a change."""
    async with store.watch() as watch:
        change()
        kinds = []
        async for event in watch.changes():
            kinds.append(type(event).__name__)
            if len(kinds) == times:
                return kinds
    raise AssertionError


async def test_blobs_of_both_algorithms_are_listed_with_their_sizes(layout: Path) -> None:
    write_blob(layout, b"12345")
    long = digest_of(b"123", "sha512")
    (layout / "blobs" / "sha512").mkdir()
    (layout / "blobs" / "sha512" / long.partition(":")[2]).write_bytes(b"123")
    content = await content_of(OciLayoutStore(layout, IndexerMetrics()))
    assert content.blobs == {digest_of(b"12345"): 5, long: 3}


@pytest.mark.parametrize("name", [".draft", "upload-1", "A" * 64, "a" * 63])
async def test_files_that_are_no_blobs_are_left_out(layout: Path, name: str) -> None:
    write_blob(layout, b"draft", name=name, age_s=3600)
    (layout / "blobs" / "sha256" / ("0" * 64)).mkdir()
    assert (await content_of(OciLayoutStore(layout, IndexerMetrics()))).blobs == {}


async def test_a_symbolic_link_is_not_listed_because_no_registry_serves_it(layout: Path) -> None:
    body = b"elsewhere"
    (layout / "elsewhere").write_bytes(body)
    link = layout / "blobs" / "sha256" / digest_of(body).partition(":")[2]
    link.symlink_to(layout / "elsewhere")
    assert (await content_of(OciLayoutStore(layout, IndexerMetrics()))).blobs == {}


async def test_a_blob_that_is_being_written_in_place_is_announced_once_it_is_complete(layout: Path) -> None:
    body = b"the whole of it"
    path = write_blob(layout, body[:5], name=digest_of(body).partition(":")[2])
    store = OciLayoutStore(layout, IndexerMetrics())
    assert (await content_of(store)).blobs == {}
    assert await changed(store, lambda: path.write_bytes(body), 1) == ["BlobAdded"]


async def test_a_blob_whose_writer_died_is_never_announced(layout: Path) -> None:
    path = write_blob(layout, b"part", name=digest_of(b"the whole").partition(":")[2])
    store = OciLayoutStore(layout, IndexerMetrics())
    assert (await content_of(store)).blobs == {}
    # Its modification time stays that of the first listing, however long ago that is by then.
    write_blob(layout, b"another")
    assert set((await content_of(store)).blobs) == {digest_of(b"another")}
    assert path.exists()


async def test_an_old_file_is_not_verified(layout: Path) -> None:
    write_blob(layout, b"something else", name="0" * 64, age_s=3600)
    assert (await content_of(OciLayoutStore(layout, IndexerMetrics()))).blobs == {
        Digest(f"sha256:{'0' * 64}"): 14
    }


@pytest.mark.parametrize("annotation", [CONTAINERD_NAME, SPEC_NAME])
async def test_a_tag_is_a_full_reference_and_as_old_as_the_index(layout: Path, annotation: str) -> None:
    write_index(layout, {"reg.test/app:v1": TARGET, "v2": TARGET, "app:v3": TARGET}, annotation)
    os.utime(layout / "index.json", (1000, 1000.5))
    content = await content_of(OciLayoutStore(layout, IndexerMetrics()))
    assert content.tags == {"reg.test/app:v1": TagTarget(TARGET, 1_000_500)}


async def test_a_tag_keeps_its_time_while_others_come(layout: Path) -> None:
    write_index(layout, {"reg.test/app:v1": TARGET})
    os.utime(layout / "index.json", (1000, 1000))
    store = OciLayoutStore(layout, IndexerMetrics())
    before = (await content_of(store)).tags
    write_index(layout, {"reg.test/app:v1": TARGET, "reg.test/app:v2": TARGET})
    after = (await content_of(store)).tags
    assert after["reg.test/app:v1"] == before["reg.test/app:v1"]
    assert after["reg.test/app:v2"].tagged_at_ms > 1_000_000


async def test_containerds_name_comes_before_the_specs(layout: Path) -> None:
    names = {CONTAINERD_NAME: "reg.test/app:v1", SPEC_NAME: "other.test/app:v1"}
    index = {"schemaVersion": 2, "manifests": [{"digest": TARGET, "annotations": names}]}
    (layout / "index.json").write_text(json.dumps(index))
    assert set((await content_of(OciLayoutStore(layout, IndexerMetrics()))).tags) == {"reg.test/app:v1"}


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"manifests": 1}', '{"manifests": [{"digest": 1}]}', "\x00", "null"]
)
async def test_a_broken_index_is_logged_once_and_the_known_tags_are_kept(layout: Path, body: str) -> None:
    write_index(layout, {"reg.test/app:v1": TARGET})
    store = OciLayoutStore(layout, IndexerMetrics())
    known = (await content_of(store)).tags
    (layout / "index.json").write_text(body)
    with capture_logs() as lines:
        assert (await content_of(store)).tags == known
        assert (await content_of(store)).tags == known
    assert [line["path"] for line in lines] == [str(layout / "index.json")]


async def test_entries_that_name_nothing_usable_leave_the_others_alone(layout: Path) -> None:
    entries = [
        {"digest": "sha256:short", "annotations": {CONTAINERD_NAME: "reg.test/app:bad"}},
        {"digest": TARGET, "annotations": None},
        {"digest": TARGET, "unknown": True},
        {"digest": TARGET, "annotations": {CONTAINERD_NAME: "reg.test/app:good"}},
    ]
    (layout / "index.json").write_text(json.dumps({"manifests": entries}))
    assert set((await content_of(OciLayoutStore(layout, IndexerMetrics()))).tags) == {"reg.test/app:good"}


async def test_a_missing_index_means_no_tags(layout: Path) -> None:
    write_blob(layout, b"12345")
    (layout / "index.json").unlink()
    content = await content_of(OciLayoutStore(layout, IndexerMetrics()))
    assert (len(content.blobs), content.tags) == (1, {})


async def test_a_missing_directory_is_an_unavailable_store(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="nowhere"):
        await content_of(OciLayoutStore(tmp_path / "nowhere", IndexerMetrics()))


async def test_temporary_files_beside_the_blobs_cause_no_listing(layout: Path) -> None:
    store = OciLayoutStore(layout, IndexerMetrics())

    def write() -> None:
        (layout / "oci-put-blob1").write_bytes(b"draft")
        write_blob(layout, b"draft", name=".draft")
        write_blob(layout, b"blob")

    assert await changed(store, write, 1) == ["BlobAdded"]
