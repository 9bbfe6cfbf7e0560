"""`/unservable` on the admin port: what this node's indexer should not announce."""

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from heliograph_shared.digest import Digest


def unservable_route(unservable: Callable[[], Sequence[Digest]]) -> Route:
    """Answers `{"digests": ["sha256:…"]}`. Peers asked for these in vain, or their files cannot be read."""

    async def answer(_: Request) -> Response:
        return JSONResponse({"digests": unservable()})

    return Route("/unservable", answer)
