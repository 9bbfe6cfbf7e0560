"""Runs uvicorn inside a service: on a bound socket, with limits, without its signal handlers and logs."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import uvicorn

from heliograph_shared.limited_http import LimitedProtocol, Limits, watch
from heliograph_shared.runtime import background

_BACKLOG = 2048
_HANDSHAKE_TIMEOUT_S = 10
_TLS_SHUTDOWN_TIMEOUT_S = 60
"""Time for a slow TLS client to take the remaining bytes and to send its close_notify."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._tls = tls
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers: `runtime.run` handles signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """The same as uvicorn's, but with time limits for TLS, which uvicorn cannot set."""
        await self.lifespan.startup()
        timeouts = {
            "ssl_handshake_timeout": _HANDSHAKE_TIMEOUT_S,
            "ssl_shutdown_timeout": _TLS_SHUTDOWN_TIMEOUT_S,
        }
        tls: dict[str, Any] = {"ssl": self._tls, **timeouts} if self._tls else {}
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(self._protocol, sock=bound, backlog=_BACKLOG, **tls)
            for bound in sockets or []
        ]
        self.started = True
        self.listening.set()

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


@asynccontextmanager
async def serve_http(
    app: Any,
    bound: socket.socket,
    *,
    protocol: Callable[..., LimitedProtocol] = LimitedProtocol,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    tls: ssl.SSLContext | None = None,
    keep_alive_s: int = 5,
    shutdown_s: int = 5,
) -> AsyncIterator[None]:
    """Serve the ASGI `app` on `bound` while the body runs; then requests have `shutdown_s` to finish."""
    config = uvicorn.Config(
        app,
        http=partial(protocol, limits=limits),  # type: ignore[arg-type]  # called like a class
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=shutdown_s,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # its warnings are about what clients send
    server = _Server(config, tls)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[bound]))
        try:
            await server.listening.wait()
            async with background(watch(server.server_state.connections, limits)):
                yield
        finally:
            server.should_exit = True
            await asyncio.wait([serving])  # else the group cancels it when the body fails
