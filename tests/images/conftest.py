"""The images, built once with `make images`, from a base that was made on this machine."""

import os
import uuid
from collections.abc import Iterator, Mapping

import pytest

from tests.images.buildah_support import BUILDERS, Buildah, Image, run
from tests.unit.deploy.manifests import ROOT, SERVICES

REPOSITORY, TAG = "localhost/heliograph", "test"


@pytest.fixture(scope="session")
def canary() -> str:
    """A string in the environment of the builds that no image may contain."""
    return f"canary-{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """Its storage is removed after the tests."""
    own = Buildah(tmp_path_factory.mktemp("images"))
    try:
        yield own
    finally:
        own.close()


@pytest.fixture(scope="session")
def images(buildah: Buildah, canary: str) -> Mapping[str, Image]:
    """By service."""
    (archive,) = BUILDERS.glob("base-*.tar")
    base = f"{REPOSITORY}/base:{TAG}"
    buildah.import_base(archive, base)
    proxies = {"no_proxy": ",".join(filter(None, [os.environ.get("no_proxy"), canary]))}
    command = ["make", "images", f"BASE={base}", f"TAG={TAG}", f"REPOSITORY={REPOSITORY}"]
    run(["env", "--chdir", ROOT, *command], {**buildah.environment, **proxies})
    return {
        service: buildah.image(service, f"{REPOSITORY}/heliograph-{service}:{TAG}") for service in SERVICES
    }


@pytest.fixture(params=SERVICES)
def image(request: pytest.FixtureRequest, images: Mapping[str, Image]) -> Image:
    """Each image in turn."""
    return images[request.param]
