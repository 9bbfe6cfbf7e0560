"""The folders in which containerd looks for a registry's hosts, and the server that it falls back to."""

import pytest

from heliograph_configurator.domain.registry import (
    ConflictingRegistries,
    UpstreamRegistry,
    is_looked_up,
    unique,
)
from heliograph_shared.filters import InvalidFilter


@pytest.mark.parametrize(
    ("entry", "host", "server"),
    [
        ("docker.io", "docker.io", "https://registry-1.docker.io"),
        ("https://docker.io", "docker.io", "https://registry-1.docker.io"),
        ("registry-1.docker.io", "docker.io", "https://registry-1.docker.io"),
        ("quay.io", "quay.io", "https://quay.io"),
        ("https://quay.io/", "quay.io", "https://quay.io"),
        ("reg.test:5000", "reg.test:5000", "https://reg.test:5000"),
        ("http://reg.test:5000", "reg.test:5000", "http://reg.test:5000"),
        ("HTTP://reg.test", "reg.test", "http://reg.test"),
        ("GHCR.io", "GHCR.io", "https://GHCR.io"),
        ("Index.Docker.io", "docker.io", "https://registry-1.docker.io"),
        ("[fd00::1]:5000", "[fd00::1]:5000", "https://[fd00::1]:5000"),
        ("http://localhost:5000", "localhost:5000", "http://localhost:5000"),
    ],
)
def test_a_registry_falls_back_to_its_own_address(entry: str, host: str, server: str) -> None:
    registry = UpstreamRegistry.parse(entry)
    assert (registry.host, registry.server) == (host, server)


@pytest.mark.parametrize(
    "entry", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.0.1", "[::1]:5000", "[::1]"]
)
def test_the_scheme_of_a_loopback_is_left_to_containerd(entry: str) -> None:
    assert UpstreamRegistry.parse(entry).server is None


@pytest.mark.parametrize(
    "entry", ["", "a/b", "ftp://quay.io", "quay.io/library", "_default", "../etc", "a b"]
)
def test_anything_but_a_registry_is_refused(entry: str) -> None:
    with pytest.raises(InvalidFilter):
        UpstreamRegistry.parse(entry)


@pytest.mark.parametrize(
    ("host", "folder"),
    [
        ("reg.test:5000", "reg.test_5000_"),
        ("reg.test", "reg.test"),
        ("[::1]:5000", "[::1]_5000_"),
        ("[::1]", "[::1]"),
    ],
)
def test_the_folder_name_that_containerd_tries_first(host: str, folder: str) -> None:
    assert UpstreamRegistry(host).escaped_folder == folder


def test_a_registry_that_is_listed_twice_is_one() -> None:
    named = map(UpstreamRegistry.parse, ["quay.io", "http://reg.test", "reg.test", "https://quay.io"])
    assert unique(named) == (UpstreamRegistry("quay.io", "https"), UpstreamRegistry("reg.test", "http"))
    with pytest.raises(ConflictingRegistries, match=r"^reg\.test "):
        unique(map(UpstreamRegistry.parse, ["http://reg.test", "https://reg.test"]))


@pytest.mark.parametrize(
    "name", ["_default", "docker.io", "reg.test:5000", "reg.test_5000_", "[::1]_5000_", "10.0.0.1", "local"]
)
def test_folders_that_containerd_looks_into(name: str) -> None:
    assert is_looked_up(name)


@pytest.mark.parametrize("name", [".heliograph", "_5000_", "reg_test", "a b", "x_y_", "-a", "lost+found"])
def test_folders_that_it_never_looks_into(name: str) -> None:
    assert not is_looked_up(name)
