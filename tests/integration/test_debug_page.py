"""The debug page of a registry on real sockets: what it shows, what it refuses, what it costs."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from structlog.testing import capture_logs

from heliograph_shared.address import Address
from heliograph_shared.digest import digest_of
from heliograph_shared.findings import Finding, Report, Unchecked
from heliograph_shared.findings_publisher import FindingsPublisher
from heliograph_shared.http import serve_http
from heliograph_shared.runtime import bind
from tests.integration.debug_page_support import (
    TAG,
    Shown,
    page,
    pair,
    pull_tested,
    read,
    start_pull_test,
    token,
)
from tests.integration.registry_support import BLOB, BLOB_DIGEST, BLOB_PATH, Cluster
from tests.integration.watch_support import watching
from tests.support.bad_peer import Exchange
from tests.support.ports import free_port
from tests.support.resolver import serve_resolver
from tests.support.waiting import eventually
from tests.unit.indexer.program import Program

HOSTILE = "<script>alert(1)</script>"


async def test_it_says_that_it_works_and_which_node_served_which(cluster: Cluster) -> None:
    a, b = await pair(cluster)
    shown = await page(b)
    assert shown.codes == {"no-pulls"}
    assert "1 peer" in shown
    assert (await b.http.get("/v2/team/app/manifests/1?ns=reg.test")).status_code == 200
    assert (await b.http.get("/v2/team/app/manifests/2?ns=reg.test")).status_code == 404
    shown = await page(b)
    assert shown.codes == {"served"}
    for words in ("1 peer", "1 of the last 2 requests was", "from a.", "404 not-found", "reg.test/team/app"):
        assert words in shown
    assert a.address in shown
    shown = await page(a)
    assert "for b" in shown
    assert "sent to 1 node" in shown
    assert "the indexer of this node sent no findings" in shown


async def test_a_pull_test_names_the_source_of_each_part(cluster: Cluster) -> None:
    a, b = await pair(cluster)
    shown = await pull_tested(b, TAG)
    assert shown.outcome == "done"
    for words in ("All 4 parts", "1.4 MiB", "all from a."):
        assert words in shown
    assert "this node" in await pull_tested(a, TAG)
    assert not list((b.directory / "blobs" / "sha256").iterdir())


async def test_a_pull_test_does_not_cast_doubt_on_a_peer(cluster: Cluster) -> None:
    """A client's first pull after pull tests is relayed at once, not hashed first."""
    _, b = await pair(cluster)
    layer = digest_of(b"layer" * 300_000)
    with capture_logs() as lines:
        for _ in range(2):
            await pull_tested(b, TAG)
        for _ in range(2):
            answer = await b.http.get(f"/v2/team/app/blobs/{layer}?ns=reg.test")
            assert answer.headers["heliograph-source"] == "peer/a"
    hashed = [line for line in lines if "hashing it first" in line["event"]]
    assert len(hashed) == 1  # the last request alone: it repeats one whose bytes nobody has hashed
    shown = await page(b)
    assert shown.codes == {"served"}
    assert "all of the last 12 requests" in shown


async def test_an_image_that_no_node_has_would_go_upstream(cluster: Cluster) -> None:
    _, b = await pair(cluster)
    shown = await pull_tested(b, "reg.test/other:1")
    assert shown.outcome == "upstream"
    assert "all of it from upstream" in shown
    assert (await page(b, "/why", image="reg.test/other:1")).codes >= {"no-tag", "tag-nowhere"}


async def test_why_names_holders_order_and_settings(cluster: Cluster) -> None:
    a, b = await pair(cluster, registry_filters=["excluded"])
    shown = await page(b, "/why", image=TAG)
    assert shown.codes == {
        "cluster", "admitted", "tag-elsewhere", "manifest-read", "router-answers", "limits"
    }  # fmt: skip
    assert "all 4 parts, requested first from a." in shown
    own = await page(a, "/why", image=TAG)
    assert own.codes >= {"own-store", "tag-same-here"}
    assert "all 4 parts" in own
    excluded = await page(b, "/why", image="reg.test/excluded:1")
    assert excluded.codes >= {"excluded", "image-excluded"}
    assert "HELIOGRAPH_REGISTRY_FILTERS excludes this image" in excluded
    answer = await b.http.get(f"{b.admin}/debug/web/why", params={"image": "not an image!"})
    assert answer.status_code == 400
    assert "not an image reference" in read(answer.text)


async def test_why_shows_peers_that_are_asked_last(cluster: Cluster) -> None:
    b = await cluster.registry("b")

    async def breaks(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")

    await cluster.peer(breaks, "broken")
    assert (await b.http.get(BLOB_PATH)).headers["heliograph-reason"] == "peers-failed"
    shown = await page(b, "/why", image=f"reg.test/app@{BLOB_DIGEST}")
    assert shown.codes >= {"no-manifest", "manifest-unavailable", "peers-asked-last"}
    assert "(peers-failed)" in shown
    assert "asked last for" in await page(b)


async def test_without_a_router_it_says_so_and_shows_what_it_knows(cluster: Cluster) -> None:
    _, b = await pair(cluster)
    await pull_tested(b, TAG)
    alone = await cluster.registry("alone", router_target=f"dns:///127.0.0.1:{free_port()}")
    shown = await page(alone)
    assert shown.codes == {"no-router"}
    assert "only content of this node is served" in shown
    assert "remembers no peer" in shown
    why = await page(alone, "/why", image=TAG)
    assert why.codes >= {"no-router", "router-unavailable", "tag-unknown"}
    assert "HELIOGRAPH_PEER_DNS is off" in why
    assert "images of the cluster are not known" in await page(alone, "/images")


async def test_when_the_router_is_gone_remembered_peers_are_shown(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        cluster = Cluster(tmp_path, stack)
        async with serve_resolver(cluster.known, cluster.router_port):
            a, b = await pair(cluster)
            await pull_tested(b, TAG)

        async def noticed() -> Shown:
            shown = await page(b)
            assert shown.codes == {"no-router"}
            return shown

        shown = await eventually(noticed, 20, interval=0.1)
        assert "1 remembered peer" in shown
        assert "remembers these peers" in shown
        assert a.address in shown
        why = await page(b, "/why", image=TAG)
        assert why.codes >= {"router-unavailable"}
        assert "peers directly: a." in why
        cluster.stop()


async def test_a_request_shows_the_trace_that_its_client_sent(cluster: Cluster) -> None:
    _, b = await pair(cluster)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    await b.http.get("/v2/team/app/manifests/1?ns=reg.test", headers=headers)
    html = (await b.http.get(f"{b.admin}/debug/web")).text
    assert f'<code title="{trace_id}">{trace_id[:8]}</code>' in html


async def test_requests_answered_from_memory_are_listed_too(cluster: Cluster) -> None:
    a, _ = await pair(cluster)
    path = f"/v2/team/app/manifests/{cluster.known.tags[TAG]}?ns=reg.test"
    for _number in range(3):
        assert (await a.http.get(path, headers={"heliograph-peer": "requester"})).status_code == 200
    assert (await page(a)).text.count("for requester") == 3


async def test_images_are_listed_and_searched(cluster: Cluster) -> None:
    a, b = await pair(cluster)
    for number in range(300):
        cluster.known.tags[f"reg.test/many:{number}"] = cluster.known.tags[TAG]
    shown = await page(b, "/images")
    assert "In the cluster: 301 tags" in shown
    assert "and 101 more" in shown
    assert "In the cluster: 1 tag" in await page(b, "/images", q="team")
    assert "On this node: 1 tag" in await page(a, "/images")


async def test_findings_of_both_doctors_are_shown(cluster: Cluster, tmp_path: Path) -> None:
    """Those of a real indexer that has no bus, and of a real configurator with no mirror."""
    certs = tmp_path / "certs.d"
    certs.mkdir()
    store = {"CONTENT_STORE": "oci-layout", "CONTENT_PATH": str(tmp_path)}
    indexer = Program(tmp_path, f"nats://127.0.0.1:{free_port()}", **store)
    mirror = f"http://127.0.0.1:{free_port()}"
    async with indexer.process, watching(tmp_path, certs, mirror_targets=mirror) as configurator:
        await configurator.start()
        registry = await cluster.registry(
            "n", indexer_url=f"http://{indexer.admin}", configurator_url=configurator.admin
        )

        async def found() -> Shown:
            shown = await page(registry)
            assert "Check bus-unreachable" in shown
            assert "Check mirror-unreachable" in shown
            return shown

        shown = await eventually(found, 30, interval=0.5)
        assert f"{mirror}: Connection refused" in shown
        assert "Not checked: registry-not-ready" in shown
        assert "Nothing wrong" not in shown

        await configurator.process.kill()

        async def silent() -> bool:
            return "the configurator of this node sent no findings" in await page(registry)

        await eventually(silent, 30, interval=0.5)
        assert "Check bus-unreachable" in await page(registry)


async def test_findings_are_escaped_and_a_response_that_is_no_report_is_named(cluster: Cluster) -> None:
    publisher, port = FindingsPublisher([]), free_port()
    publisher.report = Report.of(
        1, [Finding("x", "error", HOSTILE, "here", "set `a = 1`")], [Unchecked("y", HOSTILE)]
    )
    async with serve_http(Starlette(routes=[publisher.route()]), bind(Address("127.0.0.1", port))):
        urls = {"indexer_url": f"http://127.0.0.1:{port}", "configurator_url": ""}
        registry = await cluster.registry("n", **urls)
        html = (await registry.http.get(f"{registry.admin}/debug/web")).text
        assert HOSTILE not in html
        assert read(html).text.count(HOSTILE) == 2
        assert "<code>a = 1</code>" in html
        other = await cluster.registry("o", indexer_url=registry.admin, configurator_url="")
        assert "the indexer of this node sent no findings (answered 404" in await page(other)


async def test_values_from_clients_and_peers_are_escaped(cluster: Cluster) -> None:
    registry = await cluster.registry("n")
    registry.put(BLOB)
    hostile = {"heliograph-peer": HOSTILE, "traceparent": f"00-{HOSTILE:32}-b7ad6b7169203331-01"}
    assert (await registry.http.get(BLOB_PATH, headers=hostile)).status_code == 200
    assert (await registry.http.get(f"/v2/{HOSTILE}/blobs/x")).status_code in {400, 404}
    for path in ("", f"/why?image={HOSTILE}", f"/images?q={HOSTILE}"):
        html = (await registry.http.get(f"{registry.admin}/debug/web{path}")).text
        assert "&lt;script&gt;alert(1)" in html.replace("<wbr>", "")
        assert "<script>" not in html


async def test_only_forms_of_the_page_are_accepted(cluster: Cluster) -> None:
    registry = await cluster.registry("n")
    url = f"{registry.admin}/debug/web/pull-test"
    good = await token(registry)
    for data, headers in (
        ({"image": "a"}, {}),
        ({"image": "a", "token": "wrong"}, {}),
        ({"image": "a", "token": good}, {"origin": "http://evil.test"}),
        ({"image": "a", "token": good}, {"sec-fetch-site": "cross-site"}),
    ):
        refused = await registry.http.post(url, data=data, headers=headers)
        assert refused.status_code == 403
        assert "Nothing was done" in refused.text
    assert (await registry.http.get(f"{url}/stop")).status_code == 405
    wrong = await registry.http.post(url, data={"image": "No Image", "token": good})
    assert wrong.status_code == 400


async def test_one_pull_test_runs_at_a_time(cluster: Cluster) -> None:
    b = await cluster.registry("b", first_byte_timeout_ms=20_000)
    cluster.known.hangs = True
    assert (await start_pull_test(b, TAG)).status_code == 303
    second = await start_pull_test(b, "reg.test/other:1")
    assert second.status_code == 409
    assert f"pull test of {TAG} is running" in read(second.text)
    stop = await b.http.post(f"{b.admin}/debug/web/pull-test/stop", data={"token": await token(b)})
    assert stop.status_code == 303

    async def stopped() -> Shown:
        shown = await page(b, "/pull-test")
        assert shown.outcome == "stopped"
        return shown

    assert "as requested" in await eventually(stopped, 20)


async def test_a_registry_stops_while_a_pull_test_runs_and_pages_are_open(cluster: Cluster) -> None:
    b = await cluster.registry("b", first_byte_timeout_ms=25_000)
    cluster.known.hangs = True
    async with b.http.stream("GET", f"{b.admin}/debug/web/events") as events:
        lines = events.aiter_lines()
        while not (await anext(lines)).startswith("data: "):
            pass
        await start_pull_test(b, TAG)
        async with asyncio.timeout(15):
            b.stop.set()
            async for _ in lines:
                pass


async def test_fragments_are_sent_as_they_change(cluster: Cluster) -> None:
    _, b = await pair(cluster)
    async with b.http.stream("GET", f"{b.admin}/debug/web/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        lines = events.aiter_lines()

        async def fragments() -> dict[str, str]:
            while not (line := await anext(lines)).startswith("data: "):
                pass
            sent: dict[str, str] = json.loads(line[6:])
            return sent

        assert set(await fragments()) == {
            "verdict", "vitals", "request-rows", "traffic-picture", "traffic-rows"
        }  # fmt: skip
        await b.http.get("/v2/team/app/manifests/1?ns=reg.test")
        while "request-rows" not in (changed := await fragments()):
            pass
        assert "reg.test" in changed["request-rows"]
        assert changed["announcement"].startswith("Yes: 1 peer")


async def test_pages_that_are_open_are_bounded(cluster: Cluster) -> None:
    registry = await cluster.registry("n")
    url = f"{registry.admin}/debug/web/events"
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as http:
        opened = [await http.send(http.build_request("GET", url), stream=True) for _ in range(16)]
        for answer in opened:
            await anext(answer.aiter_lines())
        assert (await http.get(url)).status_code == 503
        for answer in opened:
            await answer.aclose()

        async def free() -> bool:
            async with http.stream("GET", url) as answer:
                return answer.status_code == 200

        await eventually(free, 20, interval=0.2)


@pytest.mark.parametrize("path", ["", "/pull-test", "/why", "/images", "/assets/page.css"])
async def test_it_can_be_turned_off(cluster: Cluster, path: str) -> None:
    registry = await cluster.registry("n", debug_web=False)
    assert (await registry.http.get(f"{registry.admin}/debug/web{path}")).status_code == 404
    assert (await registry.http.get(f"{registry.admin}/readyz")).status_code == 200


async def test_assets_are_served_with_their_types_and_no_others(cluster: Cluster) -> None:
    registry = await cluster.registry("n")
    for name, kind in (
        ("page.css", "text/css"),
        ("page.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ):
        answer = await registry.http.get(f"{registry.admin}/debug/web/assets/{name}")
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["x-content-type-options"] == "nosniff"
    for name in ("routes.py", "..%2Fpages.py", "%2e%2e/pages.py"):
        assert (await registry.http.get(f"{registry.admin}/debug/web/assets/{name}")).status_code == 404
