"""Parsing a request's path."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.target import (
    Blob,
    InvalidTarget,
    ManifestByDigest,
    ManifestByTag,
    Name,
    Ping,
    parse_target,
)
from heliograph_shared.digest import digest_of

DIGEST = digest_of(b"x")


def test_v2_is_a_ping() -> None:
    assert parse_target("/v2/", None) == Ping()
    assert parse_target("/v2", "docker.io") == Ping()


def test_containerd_names_the_registry_by_ns() -> None:
    name = Name("reg.test:5000", "team/app")
    assert parse_target("/v2/team/app/manifests/1.0", "reg.test:5000") == ManifestByTag(name, "1.0")
    assert parse_target(f"/v2/team/app/manifests/{DIGEST}", "reg.test:5000") == ManifestByDigest(name, DIGEST)
    assert parse_target(f"/v2/team/app/blobs/{DIGEST}", "reg.test:5000") == Blob(name, DIGEST)


@pytest.mark.parametrize("host", ["docker.io", "localhost", "reg:5000", "ghcr.io"])
def test_other_clients_name_the_registry_in_the_first_path_component(host: str) -> None:
    assert parse_target(f"/v2/{host}/library/nginx/manifests/1", None) == ManifestByTag(
        Name(host, "library/nginx"), "1"
    )


@pytest.mark.parametrize("host", ["docker.io", "Docker.IO", "registry-1.docker.io"])
def test_docker_names_the_registry_before_the_path(host: str) -> None:
    name = Name("docker.io", "library/nginx")
    assert parse_target(f"/{host}/v2/", None) == parse_target(f"/{host}/v2", None) == Ping()
    assert parse_target(f"/{host}/v2/library/nginx/manifests/1", None) == ManifestByTag(name, "1")
    assert parse_target(f"/{host}/v2/library/nginx/blobs/{DIGEST}", None) == Blob(name, DIGEST)


def test_a_registry_before_the_path_leaves_the_repository_whole() -> None:
    assert parse_target("/reg:5000/v2/ghcr.io/app/manifests/1", None) == ManifestByTag(
        Name("reg:5000", "ghcr.io/app"), "1"
    )


def test_ns_goes_before_a_registry_in_the_path() -> None:
    expected = ManifestByTag(Name("reg.test", "app"), "1")
    assert parse_target("/docker.io/v2/app/manifests/1", "reg.test") == expected


@pytest.mark.parametrize("written", ["GHCR.io", "ghcr.IO"])
def test_capitals_of_the_registry_make_no_difference(written: str) -> None:
    expected = ManifestByTag(Name("ghcr.io", "team/app"), "V1")
    assert parse_target("/v2/team/app/manifests/V1", written) == expected
    assert parse_target(f"/v2/{written}/team/app/manifests/V1", None) == expected
    assert parse_target(f"/{written}/v2/team/app/manifests/V1", None) == expected


def test_a_registry_in_the_path_is_told_from_one_in_ns() -> None:
    in_path = parse_target("/v2/reg.test/app/manifests/1", None)
    by_ns = parse_target("/v2/app/manifests/1", "reg.test")
    assert isinstance(in_path, ManifestByTag)
    assert isinstance(by_ns, ManifestByTag)
    assert in_path == by_ns
    assert (in_path.name.in_path, by_ns.name.in_path) == (True, False)


def test_without_a_registry_the_name_is_only_a_repository() -> None:
    assert parse_target(f"/v2/library/nginx/blobs/{DIGEST}", None) == Blob(
        Name(None, "library/nginx"), DIGEST
    )


def test_docker_hub_has_one_name() -> None:
    target = parse_target("/v2/library/nginx/manifests/1", "registry-1.docker.io")
    assert isinstance(target, ManifestByTag)
    assert target.tag_reference == "docker.io/library/nginx:1"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/app/tags/list", 404, "UNSUPPORTED"),
        (f"/v2/app/referrers/{DIGEST}", 404, "UNSUPPORTED"),
        ("/v2/app/blobs/uploads/", 404, "UNSUPPORTED"),
        ("/docker.io/v2/app/tags/list", 404, "UNSUPPORTED"),
        ("/library/v2/app/manifests/1", 404, "UNSUPPORTED"),
        ("/a b.c/v2/app/manifests/1", 400, "NAME_INVALID"),
        ("/v2//manifests/1", 400, "NAME_INVALID"),
        ("/v2/UPPER/manifests/1", 400, "NAME_INVALID"),
        ("/v2/../../etc/manifests/1", 400, "NAME_INVALID"),
        ("/v2/app/blobs/sha256:12", 400, "DIGEST_INVALID"),
        ("/v2/app/blobs/latest", 400, "DIGEST_INVALID"),
        ("/v2/app/manifests/md5:00", 400, "DIGEST_INVALID"),
        ("/v2/app/manifests/-", 404, "MANIFEST_UNKNOWN"),
        ("/favicon.ico", 404, "UNSUPPORTED"),
    ],
)
def test_invalid_paths_get_the_errors_of_the_spec(path: str, status: int, code: str) -> None:
    with pytest.raises(InvalidTarget) as raised:
        parse_target(path, None)
    assert (raised.value.status, raised.value.code) == (status, code)
    assert raised.value.reason == (Reason.UNSUPPORTED if code == "UNSUPPORTED" else Reason.INVALID)


@given(path=st.text(max_size=80), namespace=st.none() | st.text(max_size=30))
def test_any_path_is_parsed_or_refused(path: str, namespace: str | None) -> None:
    for candidate in (
        path,
        f"/v2/{path}",
        f"/v2/{path}/manifests/1",
        f"/v2/app/manifests/{path}",
        f"/{path}/v2/",
        f"/{path}/v2/app/manifests/1",
    ):
        with suppress(InvalidTarget):
            parse_target(candidate, namespace)
