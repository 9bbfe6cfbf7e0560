"""The debug page of a registry on real sockets: what it says, what it lets pass, and what it costs nobody."""

import asyncio
import json
import re
from contextlib import AsyncExitStack
from html import unescape
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from structlog.testing import capture_logs

from heliograph_shared.address import Address
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.findings import Finding, Report, Unchecked
from heliograph_shared.findings_publisher import FindingsPublisher
from heliograph_shared.http import serve_http
from heliograph_shared.runtime import bind
from tests.integration.registry_support import BLOB, BLOB_DIGEST, BLOB_PATH, Cluster, Registry
from tests.integration.watch_support import watching
from tests.support.bad_peer import Exchange
from tests.support.ports import free_port
from tests.support.resolver import serve_resolver
from tests.support.waiting import eventually
from tests.unit.indexer.program import Program

TAG = "reg.test/team/app:1"
HOSTILE = "<script>alert(1)</script>"


def image(registry: Registry, *layers: bytes) -> tuple[Digest, list[bytes]]:
    """Put an image into the registry's store; gives its manifest's digest, and all its contents."""
    digests = [registry.put(layer) for layer in layers]
    document = {
        "schemaVersion": 2,
        "config": {"digest": registry.put(b"{}"), "size": 2},
        "layers": [
            {"digest": digest, "size": len(layer)} for digest, layer in zip(digests, layers, strict=True)
        ],
    }
    body = json.dumps(document).encode()
    return registry.put(body), [body, b"{}", *layers]


async def page(registry: Registry, path: str = "", **parameters: str) -> str:
    """The page's text without tags; its answer has to be a good one."""
    answer = await registry.http.get(f"{registry.admin}/debug/web{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    return text_of(answer.text)


def text_of(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.replace("<wbr>", ""))))


async def token(registry: Registry) -> str:
    answer = await registry.http.get(f"{registry.admin}/debug/web/measure")
    found = re.search(r'name="token" value="([^"]+)"', answer.text)
    assert found
    return found[1]


async def measured(registry: Registry, name: str) -> str:
    """What the page says once the measurement is over."""
    form = {"token": await token(registry), "image": name}
    began = await registry.http.post(f"{registry.admin}/debug/web/measure", data=form)
    assert (began.status_code, began.headers["location"]) == (303, "/debug/web/measure")

    async def over() -> str:
        text = await page(registry, "/measure")
        return "" if "Under way" in text else text

    return await eventually(over, 30, interval=0.05)


async def pair(cluster: Cluster, **settings: object) -> tuple[Registry, Registry]:
    """`a` holds an image under `TAG`, `b` nothing; it has time even where the machine is busy."""
    a = await cluster.registry("a")
    b = await cluster.registry("b", **{"first_byte_timeout_ms": 20_000, **settings})
    manifest, contents = image(a, b"layer" * 300_000, b"small")
    for content in contents:
        cluster.holds(a, content)
    cluster.known.tags[TAG] = manifest
    cluster.known.nodes["b"] = [b.address]
    a.tell({TAG: manifest})
    b.tell({})
    return a, b


async def test_it_says_that_it_works_and_who_served_what(cluster: Cluster) -> None:
    a, b = await pair(cluster)
    assert "Not yet: 1 peer, but nobody has pulled" in await page(b)
    assert (await b.http.get("/v2/team/app/manifests/1?ns=reg.test")).status_code == 200
    assert (await b.http.get("/v2/team/app/manifests/2?ns=reg.test")).status_code == 404
    text = await page(b)
    assert "Yes: 1 peer, 1 of the last 2 requests was served in the cluster" in text
    assert "from a." in text
    assert "404 not-found" in text
    assert "reg.test/team/app" in text
    assert a.address in text
    given = await page(a)
    assert "for b" in given
    assert "it served 1 node" in given
    assert "the indexer of this node does not tell" in given


async def test_a_measured_pull_names_the_source_of_each_part(cluster: Cluster) -> None:
    a, b = await pair(cluster)
    text = await measured(b, TAG)
    assert "All 4 parts came from the cluster: 1.4 MiB" in text
    assert "all from a." in text
    assert "this node" in await measured(a, TAG)
    assert not list((b.directory / "blobs" / "sha256").iterdir())


async def test_a_measured_pull_is_no_sign_of_wrong_bytes(cluster: Cluster) -> None:
    """A real pull that follows is relayed at once, not hashed first."""
    _, b = await pair(cluster)
    layer = digest_of(b"layer" * 300_000)
    with capture_logs() as lines:
        for _ in range(2):
            await measured(b, TAG)
        for _ in range(2):
            answer = await b.http.get(f"/v2/team/app/blobs/{layer}?ns=reg.test")
            assert answer.headers["heliograph-source"] == "peer/a"
    hashed = [line for line in lines if "hashing it first" in line["event"]]
    assert len(hashed) == 1  # the last request alone: it repeats one that nobody has hashed
    assert "Yes: 1 peer, all of the last 12 requests" in await page(b)


async def test_what_is_not_in_the_cluster_would_go_upstream(cluster: Cluster) -> None:
    _, b = await pair(cluster)
    assert "containerd would go upstream for all of it" in await measured(b, "reg.test/other:1")
    assert "no node has this tag" in await page(b, "/why", image="reg.test/other:1")


async def test_why_names_holders_order_and_settings(cluster: Cluster) -> None:
    a, b = await pair(cluster, registry_filters=["excluded"])
    text = await page(b, "/why", image=TAG)
    assert "Served in the cluster: all 4 parts, first asked of a." in text
    assert "Neither the list of mirrored registries nor a filter excludes it." in text
    assert "A router answers." in text
    assert "it has all 4 parts" in await page(a, "/why", image=TAG)
    excluded = await page(b, "/why", image="reg.test/excluded:1")
    assert "Not mirrored: HELIOGRAPH_REGISTRY_FILTERS excludes this image" in excluded
    answer = await b.http.get(f"{b.admin}/debug/web/why", params={"image": "not an image!"})
    assert answer.status_code == 400
    assert "not an image reference" in text_of(answer.text)


async def test_why_shows_peers_that_are_asked_last(cluster: Cluster) -> None:
    b = await cluster.registry("b")

    async def breaks(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")

    await cluster.peer(breaks, "broken")
    assert (await b.http.get(BLOB_PATH)).headers["heliograph-reason"] == "peers-failed"
    digest_reference = f"reg.test/app@{BLOB_DIGEST}"
    assert "none of those asked delivered" in await page(b, "/why", image=digest_reference)
    assert "asked last for" in await page(b)


async def test_without_a_router_it_says_so_and_shows_what_it_knows(cluster: Cluster) -> None:
    _, b = await pair(cluster)
    await measured(b, TAG)
    alone = await cluster.registry("alone", router_target=f"dns:///127.0.0.1:{free_port()}")
    text = await page(alone)
    assert "Partly: no router answers, so only this node's own content is served." in text
    assert "No peer is known from before." in text
    why = await page(alone, "/why", image=TAG)
    assert "Not served: no router answers" in why
    assert "HELIOGRAPH_PEER_DNS is off" in why
    assert "no router tells them" in await page(alone, "/images")


async def test_when_the_router_is_gone_peers_known_from_before_are_shown(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        cluster = Cluster(tmp_path, stack)
        async with serve_resolver(cluster.known, cluster.router_port):
            a, b = await pair(cluster)
            await measured(b, TAG)

        async def noticed() -> str:
            text = await page(b)
            return text if "no router answers" in text else ""

        text = await eventually(noticed, 20, interval=0.1)
        assert "and what 1 peer known from before can give" in text
        assert "These are known from before, and are asked directly:" in text
        assert a.address in text
        assert "these are asked directly: a." in await page(b, "/why", image=TAG)
        cluster.stop()


async def test_a_request_shows_the_trace_that_its_client_sent(cluster: Cluster) -> None:
    _, b = await pair(cluster)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    await b.http.get("/v2/team/app/manifests/1?ns=reg.test", headers=headers)
    html = (await b.http.get(f"{b.admin}/debug/web")).text
    assert f'<code title="{trace_id}">{trace_id[:8]}</code>' in html


async def test_what_is_answered_from_memory_shows_too(cluster: Cluster) -> None:
    a, _ = await pair(cluster)
    path = f"/v2/team/app/manifests/{cluster.known.tags[TAG]}?ns=reg.test"
    for _number in range(3):
        assert (await a.http.get(path, headers={"heliograph-peer": "asker"})).status_code == 200
    assert (await page(a)).count("for asker") == 3


async def test_images_are_listed_and_searched(cluster: Cluster) -> None:
    a, b = await pair(cluster)
    for number in range(300):
        cluster.known.tags[f"reg.test/many:{number}"] = cluster.known.tags[TAG]
    text = await page(b, "/images")
    assert "In the cluster: 301 tags" in text
    assert "and 101 more" in text
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

        async def shown() -> str:
            text = await page(registry)
            assert "Check bus-unreachable" in text
            assert "Check mirror-unreachable" in text
            return text

        text = await eventually(shown, 30, interval=0.5)
        assert f"{mirror}: Connection refused" in text
        assert "Not checked: registry-not-ready" in text
        assert "Nothing wrong" not in text

        await configurator.process.kill()

        async def silent() -> bool:
            return "the configurator of this node does not tell" in await page(registry)

        await eventually(silent, 30, interval=0.5)
        assert "Check bus-unreachable" in await page(registry)


async def test_what_a_doctor_says_is_escaped_and_what_is_no_report_is_told(cluster: Cluster) -> None:
    publisher, port = FindingsPublisher([]), free_port()
    publisher.report = Report.of(
        1, [Finding("x", "error", HOSTILE, "here", "set `a = 1`")], [Unchecked("y", HOSTILE)]
    )
    async with serve_http(Starlette(routes=[publisher.route()]), bind(Address("127.0.0.1", port))):
        urls = {"indexer_url": f"http://127.0.0.1:{port}", "configurator_url": ""}
        registry = await cluster.registry("n", **urls)
        html = (await registry.http.get(f"{registry.admin}/debug/web")).text
        assert HOSTILE not in html
        assert text_of(html).count(HOSTILE) == 2
        assert "<code>a = 1</code>" in html
        other = await cluster.registry("o", indexer_url=registry.admin, configurator_url="")
        assert "the indexer of this node does not tell (answered 404" in await page(other)


async def test_what_clients_and_peers_say_is_escaped(cluster: Cluster) -> None:
    registry = await cluster.registry("n")
    registry.put(BLOB)
    hostile = {"heliograph-peer": HOSTILE, "traceparent": f"00-{HOSTILE:32}-b7ad6b7169203331-01"}
    assert (await registry.http.get(BLOB_PATH, headers=hostile)).status_code == 200
    assert (await registry.http.get(f"/v2/{HOSTILE}/blobs/x")).status_code in {400, 404}
    for path in ("", f"/why?image={HOSTILE}", f"/images?q={HOSTILE}"):
        html = (await registry.http.get(f"{registry.admin}/debug/web{path}")).text
        assert "&lt;script&gt;alert(1)" in html.replace("<wbr>", "")
        assert "<script>" not in html


async def test_only_forms_of_the_page_make_it_do_something(cluster: Cluster) -> None:
    registry = await cluster.registry("n")
    url = f"{registry.admin}/debug/web/measure"
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


async def test_one_pull_is_measured_at_a_time(cluster: Cluster) -> None:
    b = await cluster.registry("b", first_byte_timeout_ms=20_000)
    url, form = f"{b.admin}/debug/web/measure", {"token": await token(b), "image": TAG}
    cluster.known.hangs = True
    assert (await b.http.post(url, data=form)).status_code == 303
    second = await b.http.post(url, data=form)
    assert second.status_code == 409
    assert "is being measured" in text_of(second.text)
    assert (await b.http.post(f"{url}/stop", data=form)).status_code == 303

    async def stopped() -> bool:
        return "Stopped: as asked" in await page(b, "/measure")

    await eventually(stopped, 20)


async def test_a_registry_stops_while_a_pull_is_measured_and_pages_are_open(cluster: Cluster) -> None:
    b = await cluster.registry("b", first_byte_timeout_ms=25_000)
    cluster.known.hangs = True
    form = {"token": await token(b), "image": TAG}
    async with b.http.stream("GET", f"{b.admin}/debug/web/events") as events:
        lines = events.aiter_lines()
        while not (await anext(lines)).startswith("data: "):
            pass
        await b.http.post(f"{b.admin}/debug/web/measure", data=form)
        async with asyncio.timeout(15):
            b.stop.set()
            async for _ in lines:
                pass


async def test_parts_that_change_are_sent_as_they_change(cluster: Cluster) -> None:
    _, b = await pair(cluster)
    async with b.http.stream("GET", f"{b.admin}/debug/web/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        lines = events.aiter_lines()

        async def parts() -> dict[str, str]:
            while not (line := await anext(lines)).startswith("data: "):
                pass
            sent: dict[str, str] = json.loads(line[6:])
            return sent

        assert set(await parts()) == {
            "verdict", "vitals", "request-rows", "exchange-picture", "exchange-rows"
        }  # fmt: skip
        await b.http.get("/v2/team/app/manifests/1?ns=reg.test")
        while "request-rows" not in (changed := await parts()):
            pass
        assert "reg.test" in changed["request-rows"]
        assert "Yes: 1 peer" in changed["announcement"]


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


@pytest.mark.parametrize("path", ["", "/measure", "/why", "/images", "/assets/page.css"])
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
