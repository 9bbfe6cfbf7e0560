"""A trace that containerd begins goes on through its mirror, the router and the peer."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.e2e.cluster_support import MIB, REFERENCE, Cluster, held_at
from tests.support.images import make_image
from tests.support.machines import MODERN, absent
from tests.support.otlp import OtlpReceiver, ReceivedSpan, exporting_to
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.waterfall import waterfall

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

PICTURE = os.environ.get("HELIOGRAPH_TRACE_PICTURE", "")
PULL = "runtime.v1.ImageService/PullImage"
ASK = "remotes.docker.resolver.HTTPRequest"
RESOLVE = "heliograph.resolver.v1.Resolver/Resolve"
BLOB = "GET /v2/{name}/blobs/{digest}"


class Trace:
    """The spans of one trace, by what they did."""

    def __init__(self, spans: list[ReceivedSpan]) -> None:
        self.spans = spans
        self.by_id = {span.span_id: span for span in spans}

    def parent(self, span: ReceivedSpan) -> ReceivedSpan:
        return self.by_id[span.parent_span_id]

    def served(self, node: str, route: str = "", digest: str = "") -> list[ReceivedSpan]:
        """Requests that the node's registry answered, the earliest first."""
        return sorted(
            (
                span
                for span in self.spans
                if (span.service_name, span.kind) == ("heliograph-registry", "server")
                and span.resource["service.instance.id"] == node
                and (not route or span.name == route)
                and str(span.attributes["url.path"]).endswith(digest)
            ),
            key=lambda span: span.start_ns,
        )

    def children(self, span: ReceivedSpan, name: str) -> list[ReceivedSpan]:
        return [child for child in self.spans if child.parent_span_id == span.span_id and child.name == name]


def keep_picture(trace: Trace) -> None:
    """For `docs/tracing.md`, by `make trace-picture`."""
    drawn = waterfall(trace.spans)
    assert drawn.count("</text>") > 2 * len(trace.spans)
    if PICTURE:
        Path(PICTURE).write_text(drawn)


async def trace_of_the_pull(receiver: OtlpReceiver, **requests: int) -> Trace:
    """Of the last pull of an image: its trace, with as many requests answered by each registry."""

    def so_far() -> Trace:
        ids = [span.trace_id for span in receiver.spans(PULL)]
        return Trace([span for span in receiver.spans() if span.trace_id in ids[-1:]])

    def is_complete() -> bool:
        trace = so_far()
        whole = all(span.parent_span_id in {"", *trace.by_id} for span in trace.spans)
        return whole and all(len(trace.served(node)) >= count for node, count in requests.items())

    await eventually(is_complete, 30, lambda: f"the trace of the pull is not complete: {so_far().spans}")
    return so_far()


@pytest.mark.parametrize("series", MODERN)
async def test_containerds_trace_goes_on_to_the_bytes_of_the_peer(
    series: str, cluster: Cluster, upstream: Upstream, otlp_receiver: OtlpReceiver, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "image", [12 * MIB, 3 * MIB])
    await cluster.add_holder("peer", (image, REFERENCE))
    await upstream.stop()
    plugin = exporting_to(otlp_receiver, http=True)
    _, daemon = await cluster.add("puller", series, environment=plugin)
    assert await daemon.cri.pull(REFERENCE) == image.config.digest

    blobs = len(image.pulled())
    trace = await trace_of_the_pull(otlp_receiver, puller=1 + blobs, peer=blobs)
    (root,) = [span for span in trace.spans if not span.parent_span_id]
    assert (root.name, root.service_name) == (PULL, "containerd")
    for request in trace.served("puller"):
        asked = trace.parent(request)
        assert (asked.name, asked.service_name, asked.kind) == (ASK, "containerd", "client")
        assert request.attributes["heliograph.source"] == "peer/peer"
        assert str(request.attributes["user_agent.original"]).startswith("containerd/")

    (tag, *_) = trace.served("puller")
    assert tag.attributes["url.path"] == "/v2/team/app/manifests/v1"
    (resolve,) = trace.children(tag, RESOLVE)
    assert resolve.attributes["heliograph.outcome"] == ["found"]
    assert resolve.attributes["heliograph.peers"] == ["peer"]
    (routed,) = trace.children(resolve, RESOLVE)
    assert (routed.service_name, routed.kind) == ("heliograph-router", "server")
    assert routed.attributes["heliograph.node"] == "puller"

    for layer in image.layers:
        (request,) = trace.served("puller", BLOB, layer.digest)
        (fetched,) = trace.children(request, "GET")
        assert fetched.attributes["heliograph.peer"] == "peer"
        assert fetched.attributes["http.response.body.size"] == layer.size_bytes
        (served,) = trace.served("peer", BLOB, layer.digest)
        assert trace.parent(served) is fetched
        assert served.attributes["heliograph.source"] == "local"
        assert served.attributes["heliograph.peer"] == "puller"
        assert served.attributes["http.response.body.size"] == layer.size_bytes
        (link,) = request.links  # who has the layers was asked for all of them, when the tag was answered
        ahead = trace.by_id[link.span_id]
        assert ahead.name == "resolve ahead"
        assert trace.parent(ahead) is tag
        assert trace.children(ahead, RESOLVE)

    assert {span.status for span in trace.spans if span.service_name.startswith("heliograph")} == {"unset"}
    keep_picture(trace)


@pytest.mark.parametrize("series", MODERN)
async def test_a_transfer_that_goes_on_at_another_peer_says_so_in_its_trace(
    series: str, cluster: Cluster, upstream: Upstream, otlp_receiver: OtlpReceiver, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "image", [64 * MIB])
    (layer,) = image.layers
    peers = [await cluster.add_holder(name, (image, REFERENCE)) for name in ("a", "b")]
    await upstream.stop()
    _, daemon = await cluster.add("puller", series, environment=exporting_to(otlp_receiver, http=True))
    pull = asyncio.create_task(daemon.cri.pull(REFERENCE))
    killed = await held_at(layer.size_bytes // 2, peers, pull)
    await killed.registry.kill()
    assert await pull == image.config.digest
    (other,) = (peer.name for peer in peers if peer is not killed)

    trace = await trace_of_the_pull(otlp_receiver, puller=1 + len(image.pulled()))
    (request,) = trace.served("puller", BLOB, layer.digest)
    broken, resumed = request.events
    assert (broken.name, broken.attributes["heliograph.peer"]) == ("peer failed", killed.name)
    sent = broken.attributes["http.response.body.size"]
    assert (resumed.name, resumed.attributes["heliograph.peer"]) == ("resumed", other)
    assert request.attributes["http.response.body.size"] == layer.size_bytes
    assert request.attributes["heliograph.sent_by"] == [
        f"{killed.name} {sent!s}",
        f"{other} {layer.size_bytes - int(str(sent))}",
    ]

    first, second = sorted(trace.children(request, "GET"), key=lambda span: span.start_ns)
    assert (first.attributes["heliograph.peer"], first.status) == (killed.name, "error")
    assert first.attributes["error.type"] == "PeerFailed"
    assert (second.attributes["heliograph.peer"], second.status) == (other, "unset")
    assert second.attributes["http.request.header.range"] == [f"bytes={sent!s}-{layer.size_bytes - 1}"]
    assert request.status == "unset"
