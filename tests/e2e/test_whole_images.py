"""Skopeo and podman, which take a whole image from the mirror that answers their first request."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.cluster_support import REFERENCE, Cluster, logged
from tests.support.clients import Clients, clients_absent
from tests.support.images import Blob, Image, make_image, push, write_layout
from tests.support.process import Process
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(clients_absent()), reason=clients_absent())

LACKING = ("layer", "config", "manifest", "nothing")


def reference(name: str) -> str:
    return REFERENCE.replace(":v1", f":{name}")


def lacks(image: Image, what: str) -> Blob | None:
    return {"layer": image.layers[0], "config": image.config, "manifest": image.manifest}.get(what)


def refused(registry: Process) -> list[tuple[str, str]]:
    """Paths and reasons of the requests that were left to upstream."""
    return [(line["path"], line["reason"]) for line in logged(registry, "left to upstream")]


async def test_an_image_of_which_something_is_nowhere_comes_from_upstream(
    cluster: Cluster, upstream: Upstream, tmp_path: Path
) -> None:
    """By tag and by digest; what the cluster holds in full comes from there."""
    images = {
        what: make_image(tmp_path / "image", [30_000, 2000 + n], seed=n, index=True)
        for n, what in enumerate(LACKING)
    }
    held: list[str] = []
    for what, image in images.items():
        await push(image, upstream.url, "team/app", what)
        write_layout(image, tmp_path / "held", reference(what))
        missing = lacks(image, what)
        if missing:
            (tmp_path / "held" / "blobs" / missing.digest.replace(":", "/")).unlink()
        held += [reference(what), *(blob.digest for blob in image.pulled() if blob != missing)]
    write_layout(make_image(tmp_path / "image", [], seed=9), tmp_path / "empty", "reg.test/other:1")
    node = await cluster.system.add_node("asking", tmp_path / "empty")
    await cluster.system.add_node("holder", tmp_path / "held")
    await cluster.system.announced("holder", *held)
    clients = Clients(
        tmp_path / "clients", mirror=f"127.0.0.1:{node.port}", upstream=upstream.url.removeprefix("http://")
    )
    for what, image in images.items():
        names = (reference(what), f"reg.test/team/app@{image.target.digest}")
        results = await asyncio.gather(clients.podman(names[0]), *map(clients.skopeo, names))
        assert [(status, output) for status, output in results if status] == [], what
        asked = partial(upstream.asked_for, what, [layer.digest for layer in image.layers])
        if what == "nothing":
            assert asked() == set()
        else:
            await eventually(asked)
    assert {reason for _, reason in refused(node.registry)} == {"incomplete"}
    assert all("/manifests/" in path for path, _ in refused(node.registry))
