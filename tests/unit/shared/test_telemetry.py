"""Tracing: off and free without an endpoint, and the W3C context in and out."""

import json
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from heliograph_shared import telemetry
from tests.support.otlp import OtlpReceiver
from tests.support.waiting import eventually

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

PROGRAM = """
import json, sys
from opentelemetry import trace
from heliograph_shared.telemetry import tracing
with tracing("heliograph-test", "node-1"):
    with trace.get_tracer("t").start_as_current_span("work"):
        pass
print(json.dumps(sorted(name for name in sys.modules if name.startswith(("opentelemetry.", "grpc")))))
"""


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_TRACES_EXPORTER",
        "OTEL_SDK_DISABLED",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "enabled"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_SDK_DISABLED": "false"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_tracing_is_on_only_where_spans_can_go(
    environment: dict[str, str],
    enabled: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert telemetry.enabled() is enabled


def ran(**environment: str) -> set[str]:
    """The modules that a traced program has loaded."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stderr == ""
    return set(json.loads(ended.stdout))


@pytest.mark.processes
def test_without_an_endpoint_no_exporter_is_loaded() -> None:
    loaded = ran()
    assert not {
        name for name in loaded if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "grpc"))
    }


@pytest.mark.processes
async def test_spans_go_where_the_standard_settings_say(otlp_receiver: OtlpReceiver) -> None:
    ran(OTEL_EXPORTER_OTLP_ENDPOINT=otlp_receiver.endpoint)
    (span,) = await eventually(lambda: otlp_receiver.spans("work"))
    assert span.resource["service.name"] == "heliograph-test"
    assert span.resource["service.namespace"] == "heliograph"
    assert span.resource["service.instance.id"] == span.resource["k8s.node.name"] == "node-1"


@pytest.mark.processes
async def test_the_operator_may_name_the_service(otlp_receiver: OtlpReceiver) -> None:
    ran(OTEL_EXPORTER_OTLP_ENDPOINT=otlp_receiver.endpoint, OTEL_SERVICE_NAME="mine")
    (span,) = await eventually(lambda: otlp_receiver.spans("work"))
    assert span.resource["service.name"] == "mine"


@pytest.mark.parametrize(
    ("environment", "module"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, "http"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            "http",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "grpc"),
    ],
)
@pytest.mark.processes
def test_the_protocol_is_the_one_that_was_set_or_that_the_port_is_for(
    environment: dict[str, str], module: str
) -> None:
    settings = environment | {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=settings, capture_output=True, text=True, timeout=60, check=True
    )
    assert f"opentelemetry.exporter.otlp.proto.{module}.trace_exporter" in json.loads(ended.stdout)


@pytest.mark.processes
def test_a_collector_that_is_silent_does_not_hold_up_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        }
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env=settings, capture_output=True, timeout=60, check=True
        )
    assert time.monotonic() - began < 25, "half a minute, if it were left to the SDK"


def test_a_context_survives_the_headers() -> None:
    tracer = TracerProvider().get_tracer("t")
    with tracer.start_as_current_span("work") as span:
        headers = telemetry.inject()
    assert headers.keys() == {"traceparent"}
    carried = trace.get_current_span(telemetry.extract(headers)).get_span_context()
    assert (carried.trace_id, carried.span_id) == (
        span.get_span_context().trace_id,
        span.get_span_context().span_id,
    )
    assert carried.is_remote


def test_outside_of_a_span_there_is_nothing_to_carry() -> None:
    assert telemetry.inject() == {}


def test_the_state_of_a_trace_is_carried_too() -> None:
    context = telemetry.extract({"traceparent": PARENT, "tracestate": "vendor=1"})
    assert telemetry.inject(context) == {"traceparent": PARENT, "tracestate": "vendor=1"}


@pytest.mark.parametrize(
    "headers", [{}, {"traceparent": ""}, {"traceparent": "00-xyz"}, {"traceparent": "00-" + "0" * 32}]
)
def test_a_malformed_context_starts_a_new_trace(headers: Any) -> None:
    assert not trace.get_current_span(telemetry.extract(headers)).get_span_context().is_valid
