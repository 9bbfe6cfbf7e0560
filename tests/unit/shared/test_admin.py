"""The admin port's answers."""

from typing import Any

import httpx
from prometheus_client import CollectorRegistry, Counter

from heliograph_shared.admin import admin_app


async def ask(app: Any, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        return await client.get(path)


async def test_ready_when_there_is_no_reason_not_to_be() -> None:
    reasons: list[str | None] = [None, "the store cannot be read"]
    app = admin_app(lambda: reasons.pop(0))
    ready, unready = await ask(app, "/readyz"), await ask(app, "/readyz")
    assert (ready.status_code, ready.text) == (200, "ok\n")
    assert (unready.status_code, unready.text) == (503, "not ready: the store cannot be read\n")


async def test_alive_though_not_ready() -> None:
    answer = await ask(admin_app(lambda: "no"), "/livez")
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_metrics_are_those_of_the_collector() -> None:
    collected = CollectorRegistry()
    Counter("pulls", "pulls so far", registry=collected).inc(3)
    answer = await ask(admin_app(lambda: None, collected), "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "pulls_total 3.0" in answer.text


async def test_nothing_else_is_there() -> None:
    assert (await ask(admin_app(lambda: None), "/")).status_code == 404
