import json
import os
from pathlib import Path

import pytest

from heliograph_cli.errors import UnusableLayout
from heliograph_cli.layout import Layout
from heliograph_shared.digest import digest_of
from heliograph_shared.image import MANIFEST, Descriptor
from tests.support.images import make_image, write_layout

NAME = "reg.test/team/app:1.0"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "node")
    layout.create()
    return layout


def described(body: bytes) -> Descriptor:
    return Descriptor(media_type=MANIFEST, digest=digest_of(body), size_bytes=len(body))


def test_a_blob_is_there_when_it_is_whole_and_not_before(layout: Layout) -> None:
    digest = digest_of(b"whole")
    with layout.ingest() as draft:
        draft.write(b"who")
        assert layout.digests() == []
        draft.write(b"le")
        draft.commit(digest)
    assert layout.digests() == [digest]
    assert layout.path_of(digest).read_bytes() == b"whole"


def test_a_draft_that_is_not_committed_leaves_nothing(layout: Layout) -> None:
    with layout.ingest() as draft:
        draft.write(b"half")
    assert layout.digests() == []
    assert list((layout.path / "ingest").iterdir()) == []


def test_a_reference_points_at_one_thing_at_a_time(layout: Layout) -> None:
    for body in (b"old", b"new", b"new"):
        layout.tag(NAME, described(body))
    layout.tag("reg.test/other:1", described(b"old"))
    images = layout.images()
    assert {name: image.digest for name, image in images.items()} == {
        NAME: digest_of(b"new"),
        "reg.test/other:1": digest_of(b"old"),
    }
    assert len(json.loads((layout.path / "index.json").read_bytes())["manifests"]) == 2


def test_making_a_layout_again_keeps_what_it_holds(layout: Layout) -> None:
    layout.tag(NAME, layout.put(b"{}", MANIFEST))
    layout.create()
    assert list(layout.images()) == [NAME]
    assert len(layout.digests()) == 1


def test_another_layout_is_taken_over_with_its_names(layout: Layout, tmp_path: Path) -> None:
    image = make_image(tmp_path / "made", [100, 2000], index=True)
    write_layout(image, tmp_path / "other", NAME)
    assert list(layout.adopt(Layout(tmp_path / "other"))) == [NAME]
    assert set(layout.digests()) == {blob.digest for blob in image.blobs()}
    assert layout.images()[NAME].digest == image.target.digest
    layout.adopt(Layout(tmp_path / "other"))
    assert len(layout.images()) == 1


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        ({"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": "1.0"}, NAME),
        ({"org.opencontainers.image.ref.name": NAME}, NAME),
        ({"org.opencontainers.image.ref.name": "1.0"}, "layout.heliograph.local/myapp:1.0"),
        ({"org.opencontainers.image.ref.name": "app:1.0"}, "layout.heliograph.local/myapp:1.0"),
        ({}, None),
        ({"org.opencontainers.image.ref.name": "not a tag"}, None),
    ],
)
def test_an_image_is_known_by_a_full_name_or_by_its_directorys(
    tmp_path: Path, annotations: dict[str, str], name: str | None
) -> None:
    layout = Layout(tmp_path / "MyApp")
    layout.create()
    entry = described(b"").model_copy(update={"annotations": annotations})
    manifests = [entry.model_dump(by_alias=True, exclude_none=True)]
    (layout.path / "index.json").write_text(json.dumps({"manifests": manifests}))
    assert list(layout.images()) == ([name] if name else [])


@pytest.mark.parametrize("index", ["", "{", "[]", '{"manifests": [{"digest": 1}]}', '{"manifests": 1}'])
def test_a_broken_index_is_said_to_be_broken(layout: Layout, index: str) -> None:
    (layout.path / "index.json").write_text(index)
    with pytest.raises(UnusableLayout, match=r"index\.json"):
        layout.images()


def test_a_directory_that_is_no_layout_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UnusableLayout, match="No such file"):
        Layout(tmp_path).images()


def test_a_full_disk_is_a_readable_failure(layout: Layout) -> None:
    with layout.ingest() as draft:
        broken = os.open("/dev/full", os.O_WRONLY)
        os.dup2(broken, draft._draft.fileno())
        os.close(broken)
        with pytest.raises(UnusableLayout, match="No space left"):
            draft.write(bytes(1 << 20))
