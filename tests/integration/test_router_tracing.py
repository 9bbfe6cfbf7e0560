"""The router's spans, as an OTLP collector receives them."""

from pathlib import Path

from heliograph_shared import subjects
from heliograph_shared.digest import digest_of
from heliograph_shared.rpc import resolver_pb2 as pb
from tests.integration.router_support import living_node, router_process
from tests.support.nats import NatsServer
from tests.support.otlp import OtlpReceiver
from tests.support.waiting import eventually

METHOD = "heliograph.resolver.v1.Resolver/Resolve"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = f"00-{TRACE}-{SPAN}-01"
BLOB = digest_of(b"blob")


async def test_a_resolve_is_a_child_of_its_caller_and_an_applied_delta_links_to_its_publisher(
    tmp_path: Path, nats_server: NatsServer, otlp_receiver: OtlpReceiver
) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    async with (
        router_process(tmp_path, nats_server.url, **environment) as router,
        living_node(nats_server.url, "node.1") as node,
    ):
        await router.start()
        await node.change(add=[BLOB], trace={"traceparent": CALLER})
        (applied,) = await eventually(lambda: otlp_receiver.spans("process heliograph.v1.content"))
        assert applied.kind == "consumer"
        assert applied.service_name == "heliograph-router"
        assert [(link.trace_id, link.span_id) for link in applied.links] == [(TRACE, SPAN)]
        assert (applied.trace_id != TRACE, applied.parent_span_id) == (True, "")
        assert applied.attributes == {
            "messaging.system": "nats",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": subjects.content("node.1"),
            "messaging.destination.template": "heliograph.v1.content",
            "heliograph.node": "node.1",
        }

        otlp_receiver.clear()
        request = pb.ResolveRequest(keys=[pb.Key(digest=BLOB)])
        await router.api.Resolve(
            request, timeout=5, metadata=(("traceparent", CALLER), ("some-bin", b"\xff"))
        )
        (resolved,) = await eventually(
            lambda: [span for span in otlp_receiver.spans(METHOD) if span.trace_id == TRACE]
        )
        assert (resolved.kind, resolved.parent_span_id) == ("server", SPAN)
        assert resolved.attributes == {
            "rpc.system.name": "grpc",
            "rpc.method": METHOD,
            "rpc.response.status_code": "OK",
            "heliograph.node": "",
            "heliograph.keys": 1,
            "heliograph.wait_ms": 0,
            "heliograph.outcome": ["found"],
        }
