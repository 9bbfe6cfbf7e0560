"""An OCI image layout on disk (image-spec v1.1, image-layout.md), written as containerd writes its store.

A blob is written to `ingest/` and renamed into `blobs/` when it is complete, so that a watcher of `blobs/`
never sees a part of one. Every `OSError` is raised as `UnusableLayout`.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from heliograph_cli.errors import UnusableLayout
from heliograph_shared.digest import Digest, InvalidDigest, algorithm_of, digest_of, hex_of, parse_digest
from heliograph_shared.image import INDEX, Descriptor, ImageIndex, NotAManifest, parse_manifest
from heliograph_shared.reference import InvalidReference, parse_tag_reference

_NAME, _TAG = "io.containerd.image.name", "org.opencontainers.image.ref.name"
_NO_REGISTRY = "layout.heliograph.local"
_MODE = 0o444


class Layout:
    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the directory a layout; existing content is kept."""
        with usable(self.path):
            for folder in ("blobs/sha256", "ingest"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            (self.path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
            if not (self.path / "index.json").exists():
                self._write_index([])

    def images(self) -> dict[str, Descriptor]:
        """The images of `index.json` by their full reference `registry/repository:tag`.

        Most tools write only a tag there; then the repository is the directory's name.
        """
        found = {}
        for entry in self._read_index():
            if name := self._reference(entry.annotations or {}):
                found[name] = entry
        return found

    def digests(self) -> list[Digest]:
        """Digests of all blobs."""
        return [digest for digest, _ in self._blobs()]

    @contextmanager
    def ingest(self) -> Iterator["Ingest"]:
        """A new blob, which is deleted unless it is committed."""
        with usable(self.path):
            draft = tempfile.NamedTemporaryFile(dir=self.path / "ingest", delete=False)  # noqa: SIM115
        with draft:
            try:
                yield Ingest(self, draft)
            finally:
                Path(draft.name).unlink(missing_ok=True)

    def put(self, body: bytes, media_type: str) -> Descriptor:
        """Store a small blob."""
        digest = digest_of(body)
        with self.ingest() as draft:
            draft.write(body)
            draft.commit(digest)
        return Descriptor(media_type=media_type, digest=digest, size_bytes=len(body))

    def tag(self, reference: str, target: Descriptor) -> None:
        """Point `registry/repository:tag` at `target`; an earlier target is replaced."""
        annotations = {_NAME: reference, _TAG: reference.rpartition(":")[2]}
        entry = target.model_copy(update={"annotations": annotations, "platform": None})
        others = [known for known in self._read_index() if (known.annotations or {}).get(_NAME) != reference]
        with usable(self.path):
            self._write_index([*others, entry])

    def adopt(self, other: "Layout") -> dict[str, Descriptor]:
        """Copy all blobs of `other`, by hard link where possible, and then its images."""
        images = other.images()
        for digest, source in other._blobs():  # noqa: SLF001 - of the same class
            with usable(self.path):
                self._link(source, digest)
        for reference, target in images.items():
            self.tag(reference, target)
        return images

    def path_of(self, digest: Digest) -> Path:
        return self.path / "blobs" / algorithm_of(digest) / hex_of(digest)

    def _blobs(self) -> Iterator[tuple[Digest, Path]]:
        for path in sorted(self.path.glob("blobs/*/*")):
            with suppress(InvalidDigest):
                yield parse_digest(f"{path.parent.name}:{path.name}"), path

    def _link(self, source: Path, digest: Digest) -> None:
        if (target := self.path_of(digest)).exists():
            return
        draft = self.path / "ingest" / target.name
        draft.unlink(missing_ok=True)
        try:
            draft.hardlink_to(source.resolve())
        except OSError:  # another file system
            shutil.copyfile(source, draft)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(target)

    def _reference(self, annotations: dict[str, str]) -> str | None:
        tag = annotations.get(_TAG, "")
        named_after_directory = f"{_NO_REGISTRY}/{self.path.resolve().name.lower()}:{tag.rpartition(':')[2]}"
        for name in (annotations.get(_NAME) or tag, named_after_directory):
            with suppress(InvalidReference):
                return parse_tag_reference(name).tag_reference
        return None

    def _read_index(self) -> tuple[Descriptor, ...]:
        with usable(self.path):
            try:
                index = parse_manifest((self.path / "index.json").read_bytes())
            except NotAManifest as error:
                raise UnusableLayout(self.path / "index.json", str(error)) from error
        if not isinstance(index, ImageIndex):
            raise UnusableLayout(self.path / "index.json", "not an image index")
        return index.manifests

    def _write_index(self, manifests: list[Descriptor]) -> None:
        entries = [entry.model_dump(by_alias=True, exclude_none=True) for entry in manifests]
        draft = self.path / "ingest" / "index.json"
        draft.write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
        draft.replace(self.path / "index.json")


class Ingest:
    """A blob that is being written to a layout."""

    def __init__(self, layout: Layout, draft: IO[bytes]) -> None:
        self._layout, self._draft = layout, draft

    def write(self, piece: bytes) -> None:
        with usable(self._layout.path):
            self._draft.write(piece)

    def commit(self, digest: Digest) -> None:
        """Store the blob. The caller has verified that the bytes have this digest."""
        with usable(self._layout.path):
            self._draft.flush()
            os.fchmod(self._draft.fileno(), _MODE)
            target = self._layout.path_of(digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            Path(self._draft.name).replace(target)


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Raise any `OSError` of the body as `UnusableLayout`."""
    try:
        yield
    except OSError as error:
        raise UnusableLayout(path, error.strerror or str(error)) from error
