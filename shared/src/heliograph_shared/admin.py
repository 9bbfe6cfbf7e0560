"""The admin port of every service: `/metrics`, `/livez`, `/readyz`."""

from collections.abc import Callable, Iterable

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from heliograph_shared.limited_http import limited
from heliograph_shared.reloading import reloads

Readiness = Callable[[], str | None]
"""Returns None when ready, else the reason, as text for people."""


class _Reloads(Collector):
    """Counts the reloads of files: certificates, passwords."""

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "heliograph_file_reloads",
            "Reloads of changed files; failed: the new content is unusable, the previous one stays in use",
            labels=["file", "outcome"],
        )
        for (what, outcome), count in sorted(reloads.items()):
            family.add_metric([what, outcome], count)
        yield family


OF_ALL_SERVICES = CollectorRegistry()
OF_ALL_SERVICES.register(_Reloads())
OF_ALL_SERVICES.register(limited)


def admin_routes(readiness: Readiness, collected: CollectorRegistry = REGISTRY) -> list[Route]:
    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        reason = readiness()
        if reason is None:
            return PlainTextResponse("ok\n")
        return PlainTextResponse(f"not ready: {reason}\n", status_code=503)

    async def metrics(_: Request) -> Response:
        text = generate_latest(collected) + generate_latest(OF_ALL_SERVICES)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


def admin_app(readiness: Readiness, collected: CollectorRegistry = REGISTRY) -> Starlette:
    return Starlette(routes=admin_routes(readiness, collected))
