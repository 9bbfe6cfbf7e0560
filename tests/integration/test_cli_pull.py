"""`heliograph pull` from registries that are real, and from the unit tests' fake, which must behave alike."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from heliograph_shared.digest import Digest, parse_digest
from tests.integration.cli_support import heliograph
from tests.integration.registry_support import serve_registry
from tests.support import machines
from tests.support.images import Image, make_image, push
from tests.support.otlp import OtlpReceiver
from tests.support.ports import free_port
from tests.support.upstream import Upstream
from tests.unit.cli.fake_registry import FakeRegistry

REPOSITORY, TAG = "team/app", "1.0"
NAME = f"reg.test/{REPOSITORY}:{TAG}"


@dataclass(frozen=True, slots=True)
class Served:
    """An image behind a mirror; `source` is what a pull must say of it."""

    url: str
    image: Image
    source: str


@pytest.fixture(params=["fake", "docker-registry", "heliograph"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    image = make_image(tmp_path / "image", [100, 3_000_000], index=True)
    async with AsyncExitStack() as stack:
        match request.param:
            case "fake":
                fake = await stack.enter_async_context(FakeRegistry().serve())
                for blob in image.blobs():
                    fake.put(blob.path.read_bytes(), blob.media_type)
                fake.tags[TAG] = Digest(image.target.digest)
                url, source = fake.url, fake.url.removeprefix("http://")
            case "docker-registry":
                if reason := machines.absent():
                    pytest.skip(reason)
                upstream = await stack.enter_async_context(Upstream(tmp_path))
                await push(image, upstream.url, REPOSITORY, TAG)
                url, source = upstream.url, upstream.url.removeprefix("http://")
            case _:
                registry = await stack.enter_async_context(
                    serve_registry(tmp_path / "node", "node-1", free_port())
                )
                for blob in image.blobs():
                    registry.put(blob.path.read_bytes())
                registry.write_state({NAME: parse_digest(image.target.digest)})
                url, source = f"http://{registry.address}", "local"
        yield Served(url, image, source)


async def test_a_pulled_image_is_shown_part_by_part_and_kept(served: Served, tmp_path: Path) -> None:
    output = tmp_path / "output"
    done = await heliograph("pull", NAME, "--mirror", served.url, "--output", str(output))
    assert (done.code, done.err) == (0, "")
    rows = [row for kind in ("index", "manifest", "config", "layer") for row in done.rows(kind)]
    wanted = served.image.pulled()
    assert [row[1] for row in rows] == [blob.digest[: len("sha256:") + 12] for blob in wanted]
    assert [row[2] for row in rows] == [f"{blob.size_bytes:,}" for blob in wanted]
    assert {row[3] for row in rows} == {served.source}
    for blob in wanted:
        assert (output / "blobs" / "sha256" / blob.path.name).read_bytes() == blob.path.read_bytes()
    assert "\x1b" not in done.out


async def test_a_digest_is_pulled_without_its_tag(served: Served) -> None:
    name = f"reg.test/{REPOSITORY}@{served.image.manifest.digest}"
    done = await heliograph("pull", name, "--mirror", served.url)
    assert done.code == 0
    assert done.rows("index") == []
    assert len(done.rows("layer")) == len(served.image.layers)


async def test_an_image_that_is_not_there_is_a_line_and_an_exit_code(served: Served) -> None:
    done = await heliograph("pull", f"reg.test/{REPOSITORY}:2.0", "--mirror", served.url)
    assert (done.code, done.out) == (1, "")
    assert f"{served.url} answered 404 to /v2/{REPOSITORY}/manifests/2.0" in done.err
    assert len(done.err.splitlines()) == 1


async def test_a_mirror_that_does_not_listen_is_a_line_and_an_exit_code() -> None:
    done = await heliograph("pull", NAME, "--mirror", f"http://127.0.0.1:{free_port()}")
    assert done.code == 1
    assert done.err.startswith("heliograph: ")
    assert "http://127.0.0.1:" in done.err


async def test_what_is_no_reference_is_refused_before_anything_is_asked() -> None:
    done = await heliograph("pull", "Not A Name", "--mirror", "http://127.0.0.1:1")
    assert done.code == 2
    assert "not an image reference" in done.err


async def test_a_pull_is_one_trace_from_the_command_to_the_registry(
    tmp_path: Path, otlp_receiver: OtlpReceiver
) -> None:
    image = make_image(tmp_path / "image", [100])
    async with FakeRegistry().serve() as fake:
        for blob in image.blobs():
            fake.put(blob.path.read_bytes(), blob.media_type)
        fake.tags[TAG] = Digest(image.target.digest)
        exporting = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
        assert (await heliograph("pull", NAME, "--mirror", fake.url, environment=exporting)).code == 0
        (span,) = otlp_receiver.spans(service_name="heliograph-cli")
        assert (span.name, span.parent_span_id) == ("pull", "")
        parents = {request.headers["traceparent"].rpartition("-")[0] for request in fake.asked}
        assert parents == {f"00-{span.trace_id}-{span.span_id}"}

        fake.asked.clear()
        assert (await heliograph("pull", NAME, "--mirror", fake.url)).code == 0
        assert all("traceparent" not in request.headers for request in fake.asked)
