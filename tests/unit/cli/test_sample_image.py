import hashlib
import json
import tarfile
from pathlib import Path

from heliograph_cli.layout import Layout
from heliograph_cli.sample_image import LAYER_SIZES, REFERENCE, write_sample_image
from heliograph_shared.digest import Digest
from heliograph_shared.image import ImageIndex, ImageManifest, parse_manifest
from heliograph_shared.reference import parse_tag_reference


def test_the_sample_image_is_whole_and_what_its_digests_say(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    root = write_sample_image(layout)[REFERENCE]
    for digest in layout.digests():
        with layout.path_of(digest).open("rb") as file:
            assert f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest

    index = parse_manifest(layout.path_of(root.digest).read_bytes())
    assert isinstance(index, ImageIndex)
    manifest = parse_manifest(layout.path_of(index.manifests[0].digest).read_bytes())
    assert isinstance(manifest, ImageManifest)
    blobs = {blob.digest for blob in manifest.blobs}
    assert {root.digest, index.manifests[0].digest, *blobs} == set(layout.digests())
    for blob in manifest.blobs:
        assert layout.path_of(blob.digest).stat().st_size == blob.size_bytes

    diff_ids = json.loads(layout.path_of(manifest.config.digest).read_bytes())["rootfs"]["diff_ids"]
    assert diff_ids == [layer.digest for layer in manifest.layers]
    for layer, size_bytes in zip(manifest.layers, LAYER_SIZES, strict=True):
        with tarfile.open(layout.path_of(Digest(layer.digest))) as tar:
            assert [member.size for member in tar] == [size_bytes]

    again = write_sample_image(layout)[REFERENCE]
    assert again.digest == root.digest
    assert str(parse_tag_reference(REFERENCE)) == REFERENCE
