"""The admin port of every service: `/metrics`, `/livez`, `/readyz`."""

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

Readiness = Callable[[], str | None]
"""None when ready, else why not, for a person."""


def admin_routes(readiness: Readiness, collected: CollectorRegistry = REGISTRY) -> list[Route]:
    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        reason = readiness()
        if reason is None:
            return PlainTextResponse("ok\n")
        return PlainTextResponse(f"not ready: {reason}\n", status_code=503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(collected), headers={"content-type": CONTENT_TYPE_LATEST})

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


def admin_app(readiness: Readiness, collected: CollectorRegistry = REGISTRY) -> Starlette:
    return Starlette(routes=admin_routes(readiness, collected))
