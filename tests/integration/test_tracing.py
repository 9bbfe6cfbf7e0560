"""One pull is one trace, from the client's request to the peer's disk."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.images import Image, make_image, write_layout
from tests.support.nats import NatsServer
from tests.support.otlp import OtlpReceiver, ReceivedSpan, exporting_to
from tests.support.ports import free_port
from tests.support.system import System, running_system
from tests.support.waiting import eventually

REFERENCE = "reg.test/team/app:v1"
RESOLVE = "heliograph.resolver.v1.Resolver/Resolve"
TRACE_ID, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    made = make_image(tmp_path / "image", [1000, 2000])
    write_layout(made, tmp_path / "seed-layout", REFERENCE)
    (tmp_path / "node-layout").mkdir()
    return made


async def cluster(system: System, directory: Path, image: Image) -> None:
    await system.start_router()  # first, because a registry that finds no router retries only after a while
    await system.add_node("seed", directory / "seed-layout")
    await system.add_node("node", directory / "node-layout")
    await system.announced("seed", REFERENCE, image.manifest.digest, image.layers[0].digest)


def children(spans: list[ReceivedSpan], parent: ReceivedSpan) -> list[ReceivedSpan]:
    return [span for span in spans if span.parent_span_id == parent.span_id]


async def test_a_pull_is_one_trace(
    tmp_path: Path, nats_server: NatsServer, otlp_receiver: OtlpReceiver, image: Image
) -> None:
    async with running_system(tmp_path, nats_server, exporting_to(otlp_receiver)) as system:
        await cluster(system, tmp_path, image)
        path = f"/v2/team/app/blobs/{image.layers[0].digest}"
        async with httpx.AsyncClient(base_url=system.nodes["node"].url, trust_env=False) as http:
            headers = {"traceparent": f"00-{TRACE_ID}-{CALLER}-01"}
            answer = await http.get(f"{path}?ns=reg.test", headers=headers)
        assert answer.headers["heliograph-source"] == "peer/seed"

        def trace() -> list[ReceivedSpan]:
            return [span for span in otlp_receiver.spans() if span.trace_id == TRACE_ID]

        await eventually(lambda: len(trace()) == 5, message=lambda: f"{trace()}")
        spans = trace()
        (request,) = [span for span in spans if span.parent_span_id == CALLER]
        assert (request.service_name, request.kind) == ("heliograph-registry", "server")
        assert request.name == "GET /v2/{name}/blobs/{digest}"
        assert request.attributes["http.request.method"] == "GET"
        assert request.attributes["http.route"] == "/v2/{name}/blobs/{digest}"
        assert request.attributes["url.path"] == path
        assert request.attributes["http.response.status_code"] == 200
        assert request.attributes["heliograph.source"] == "peer/seed"
        assert request.resource["service.instance.id"] == "node"

        asked, fetched = sorted(children(spans, request), key=lambda span: span.start_ns)
        assert (asked.name, asked.kind, asked.service_name) == (RESOLVE, "client", "heliograph-registry")
        assert asked.attributes["rpc.system.name"] == "grpc"
        assert asked.attributes["rpc.method"] == RESOLVE
        assert asked.attributes["rpc.response.status_code"] == "OK"

        (routed,) = children(spans, asked)
        assert (routed.name, routed.kind, routed.service_name) == (RESOLVE, "server", "heliograph-router")
        assert routed.attributes["rpc.method"] == RESOLVE

        assert (fetched.name, fetched.kind) == ("GET", "client")
        assert fetched.attributes["server.port"] == system.nodes["seed"].port
        assert fetched.attributes["http.response.status_code"] == 200

        (served,) = children(spans, fetched)
        assert (served.kind, served.resource["service.instance.id"]) == ("server", "seed")
        assert served.attributes["heliograph.source"] == "local"

        probes = [span for span in otlp_receiver.spans() if "readyz" in str(span.attributes)]
        assert not probes


def callers(flags: str) -> dict[str, str]:
    return {"traceparent": f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-{flags}"}


async def test_a_callers_sampling_decision_is_kept(
    tmp_path: Path, nats_server: NatsServer, otlp_receiver: OtlpReceiver, image: Image
) -> None:
    ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    async with running_system(
        tmp_path, nats_server, exporting_to(otlp_receiver, http=True) | ratio
    ) as system:
        await cluster(system, tmp_path, image)
        node, seed = system.nodes["node"].url, system.nodes["seed"].url
        manifest = f"/v2/team/app/manifests/{image.manifest.digest}?ns=reg.test"
        blob, other = (f"/v2/team/app/blobs/{layer.digest}?ns=reg.test" for layer in image.layers)
        yes, no = callers("01"), callers("00")
        async with httpx.AsyncClient(trust_env=False) as http:
            for url, headers in [
                (node + blob, no),
                (node + other, {}),
                (seed + manifest, no),
                (seed + manifest, no),  # from the cache
                (seed + manifest, yes),
                (node + manifest, yes),
            ]:
                assert (await http.get(url, headers=headers)).status_code == 200

        def served() -> list[ReceivedSpan]:
            return [
                span for span in otlp_receiver.spans() if span.attributes.get("heliograph.source") == "local"
            ]

        await eventually(lambda: len(served()) == 2, message=lambda: f"{otlp_receiver.spans()}")
        assert {span.trace_id for span in otlp_receiver.spans()} == {yes["traceparent"].split("-")[1]}


async def test_pulls_and_shutdown_work_without_a_collector(
    tmp_path: Path, nats_server: NatsServer, image: Image
) -> None:
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    async with running_system(tmp_path, nats_server, away) as system:
        await cluster(system, tmp_path, image)
        node = system.nodes["node"]
        async with httpx.AsyncClient(base_url=node.url, trust_env=False) as http:
            for layer in image.layers:
                answer = await http.get(f"/v2/team/app/blobs/{layer.digest}?ns=reg.test")
                assert answer.headers["heliograph-source"] == "peer/seed"
        node.registry.send(signal.SIGTERM)
        assert await node.registry.ended(within=25) == 0


async def test_a_published_change_is_linked_to_where_it_is_applied(
    tmp_path: Path, nats_server: NatsServer, otlp_receiver: OtlpReceiver, image: Image
) -> None:
    async with running_system(tmp_path, nats_server, exporting_to(otlp_receiver)) as system:
        await system.start_router()
        await system.add_node("seed", tmp_path / "seed-layout")
        await eventually(lambda: linked(otlp_receiver.spans()), message="no linked publish and apply")


def linked(spans: list[ReceivedSpan]) -> bool:
    """Whether the span of an applied change links to the span that published it, in another trace."""
    published = {(span.trace_id, span.span_id): span for span in spans if span.kind == "producer"}
    for span in spans:
        if span.kind != "consumer":
            continue
        assert span.name == "process heliograph.v1.content"
        assert span.service_name == "heliograph-router"
        assert span.attributes["messaging.system"] == "nats"
        for link in span.links:
            source = published.get((link.trace_id, link.span_id))
            if source is not None:
                assert source.name == "send heliograph.v1.content"
                assert source.service_name == "heliograph-indexer"
                assert source.trace_id != span.trace_id
                return True
    return False


@pytest.mark.parametrize("service", ["indexer", "registry", "router"])
def test_without_an_endpoint_the_sdk_is_not_loaded(service: str) -> None:
    code = f"""
import sys
import heliograph_{service}.app
from heliograph_shared import telemetry
with telemetry.tracing("heliograph-{service}"):
    assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
