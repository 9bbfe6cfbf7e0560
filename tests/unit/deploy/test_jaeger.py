"""The component that brings Jaeger: where everybody's spans go, how many, and what bounds it."""

import os
import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio, _get_from_env_or_default

from heliograph_shared import telemetry
from tests.unit.deploy.manifests import (
    DEPLOY,
    ROOT,
    Manifest,
    containers,
    default,
    named_port,
    of_kind,
    pods,
    render,
)

VERSIONS = ("1.30", "1.37")
TRACED = ("indexer", "registry", "router")


SHOWN: Manifest = yaml.safe_load(
    (ROOT / "docs" / "tracing.md").read_text().split("```yaml\n")[1].split("```")[0]
)
"""The overlay that the page shows, as if it lay beside ours."""


def overlay(folder: Path, **kustomization: Any) -> Path:
    """Write it, with its paths as seen from `folder`."""
    beside = DEPLOY / "overlays" / "own"
    for kind in ("resources", "components"):
        kustomization[kind] = [
            os.path.relpath((beside / path).resolve(), folder.resolve()) for path in kustomization[kind]
        ]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


@pytest.fixture
def manifests(tmp_path: Path) -> list[Manifest]:
    return render(overlay(tmp_path, **{key: SHOWN[key] for key in SHOWN if key != "patches"}))


def given(manifests: list[Manifest], container: str) -> dict[str, str]:
    """What a container is told by config maps that it takes its environment from."""
    maps = of_kind("ConfigMap", manifests)
    sources = containers(manifests)[container].spec.get("envFrom", [])
    return {
        name: value
        for source in sources
        for name, value in maps[source["configMapRef"]["name"]]["data"].items()
    }


def jaeger_config(manifests: list[Manifest]) -> dict[str, Any]:
    (volume,) = pods(manifests)["heliograph-jaeger"]["volumes"]
    text = of_kind("ConfigMap", manifests)[volume["configMap"]["name"]]["data"]["jaeger.yaml"]
    config: dict[str, Any] = yaml.safe_load(text)
    return config


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version: str, manifests: list[Manifest]) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("container", TRACED)
def test_each_sends_its_spans_to_the_port_that_takes_its_protocol(
    container: str, manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = given(manifests, container)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert telemetry.enabled()
    assert environment["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"

    (port,) = (
        port
        for port in of_kind("Service", manifests)["heliograph-jaeger"]["spec"]["ports"]
        if port["name"] == "otlp-grpc"
    )
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://heliograph-jaeger:{port['port']}"


def test_one_in_ten_is_traced_of_those_whose_caller_has_not_decided(
    manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given(manifests, "registry").items():
        monkeypatch.setenv(name, value)
    sampler: Any = _get_from_env_or_default()
    assert isinstance(sampler, ParentBasedTraceIdRatio)
    described: Any = sampler.get_description
    assert "{0.1}" in described()
    assert "one in ten" in (ROOT / "docs" / "tracing.md").read_text()


def test_nothing_is_traced_without_the_component() -> None:
    for container in containers(default()).values():
        assert not any(name.startswith("OTEL_") for name in container.environment)
        assert "envFrom" not in container.spec


def test_the_overlay_shown_to_operators_changes_the_ratio_for_all(tmp_path: Path) -> None:
    manifests = render(overlay(tmp_path, **SHOWN))
    assert {given(manifests, container)["OTEL_TRACES_SAMPLER_ARG"] for container in TRACED} == {"0.01"}
    assert given(manifests, "router")["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"
    assert {
        manifest["metadata"].get("namespace") for manifest in manifests if manifest["kind"] != "Namespace"
    } == {"heliograph"}


def test_services_reach_the_ports_that_jaeger_listens_on(manifests: list[Manifest]) -> None:
    config, jaeger = jaeger_config(manifests), containers(manifests)["jaeger"]
    otlp = config["receivers"]["otlp"]["protocols"]
    query, health = config["extensions"]["jaeger_query"], config["extensions"]["healthcheckv2"]
    listening = {
        "otlp-grpc": otlp["grpc"]["endpoint"],
        "otlp-http": otlp["http"]["endpoint"],
        "ui": query["http"]["endpoint"],
        "health": health["http"]["endpoint"],
    }
    named = {port["name"]: f":{port['containerPort']}" for port in jaeger.spec["ports"]}
    assert listening == named
    for name in ("heliograph-jaeger", "heliograph-jaeger-ui"):
        for port in of_kind("Service", manifests)[name]["spec"]["ports"]:
            assert named_port(jaeger, port["targetPort"]) == port["port"]
    assert named_port(jaeger, jaeger.spec["readinessProbe"]["httpGet"]["port"]) == 13133


def test_its_memory_is_bounded(manifests: list[Manifest]) -> None:
    config, jaeger = jaeger_config(manifests), containers(manifests)["jaeger"]
    assert jaeger.spec["resources"]["limits"] == {"memory": "512Mi"}
    assert jaeger.environment["GOMEMLIMIT"] == "400MiB"
    storage = config["extensions"]["jaeger_storage"]["backends"]["memory"]["memory"]
    assert storage == {"max_traces": 2000}
    pipeline = config["service"]["pipelines"]["traces"]
    assert pipeline["processors"][0] == "memory_limiter"
    assert pipeline["exporters"] == ["jaeger_storage_exporter"]
    assert config["exporters"]["jaeger_storage_exporter"]["trace_storage"] == "memory"


def test_it_has_no_more_rights_than_the_rest(manifests: list[Manifest]) -> None:
    pod, container = pods(manifests)["heliograph-jaeger"], containers(manifests)["jaeger"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
    assert container.spec["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container.host_paths() == set()
    assert "priorityClassName" not in pod, "traces must not push out what runs on a node"


def test_the_image_is_pinned(manifests: list[Manifest]) -> None:
    image = containers(manifests)["jaeger"].spec["image"]
    assert re.fullmatch(r"docker\.io/jaegertracing/jaeger:2\.\d+\.\d+", image)
