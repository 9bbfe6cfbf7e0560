"""The debug page of a registry as a test reads it: without tags, with its codes, and with its forms."""

import json
import re
from dataclasses import dataclass
from html import unescape

import httpx

from heliograph_shared.digest import Digest
from tests.integration.registry_support import Cluster, Registry
from tests.support.waiting import eventually

TAG = "reg.test/team/app:1"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page shows: its text without tags, and the codes of its verdict, or of its answer and steps.

    `outcome` is the state of the pull test that it shows, empty for none.
    """

    text: str
    codes: frozenset[str]
    outcome: str

    def __contains__(self, words: str) -> bool:
        return words in self.text


def read(html: str) -> Shown:
    text = unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.replace("<wbr>", ""))))
    outcome = re.search(r'<p class="outcome (\w+)">', html)
    return Shown(text, frozenset(re.findall(r'data-code="([^"]+)"', html)), outcome[1] if outcome else "")


async def page(registry: Registry, path: str = "", **parameters: str) -> Shown:
    """The page, whose response must have status 200 and the security policy."""
    response = await registry.http.get(f"{registry.admin}/debug/web{path}", params=parameters)
    assert response.status_code == 200, response.text
    assert response.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    return read(response.text)


async def token(registry: Registry) -> str:
    response = await registry.http.get(f"{registry.admin}/debug/web/pull-test")
    found = re.search(r'name="token" value="([^"]+)"', response.text)
    assert found
    return found[1]


async def start_pull_test(registry: Registry, name: str) -> httpx.Response:
    form = {"token": await token(registry), "image": name}
    return await registry.http.post(f"{registry.admin}/debug/web/pull-test", data=form)


async def pull_tested(registry: Registry, name: str) -> Shown:
    """The page of a pull test once it is over."""
    started = await start_pull_test(registry, name)
    assert (started.status_code, started.headers["location"]) == (303, "/debug/web/pull-test")

    async def over() -> Shown:
        shown = await page(registry, "/pull-test")
        assert shown.outcome != "running"
        return shown

    return await eventually(over, 30, interval=0.05)


def put_image(registry: Registry, *layers: bytes) -> tuple[Digest, list[bytes]]:
    """Put an image into the registry's store; returns its manifest's digest, and all its contents."""
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


async def pair(cluster: Cluster, **settings: object) -> tuple[Registry, Registry]:
    """`a` holds the image `TAG`, `b` nothing. The first byte may take long, for a busy machine."""
    a = await cluster.registry("a")
    b = await cluster.registry("b", **{"first_byte_timeout_ms": 20_000, **settings})
    manifest, contents = put_image(a, b"layer" * 300_000, b"small")
    for content in contents:
        cluster.holds(a, content)
    cluster.known.tags[TAG] = manifest
    cluster.known.nodes["b"] = [b.address]
    a.write_state({TAG: manifest})
    b.write_state({})
    return a, b
