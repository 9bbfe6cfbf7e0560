"""Whether a service is ready, by what it answers in time."""

import asyncio
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from heliograph_shared.readyz import Readyz
from tests.support.ports import free_port


@pytest.mark.parametrize(("status", "ready"), [(200, True), (204, False), (404, False), (503, False)])
async def test_only_200_means_ready(status: int, ready: bool) -> None:  # noqa: FBT001
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        assert await Readyz(f"http://127.0.0.1:{server.server_port}/readyz").ready() is ready
        server.shutdown()


async def test_one_that_is_not_there_is_not_ready() -> None:
    assert await Readyz(f"http://127.0.0.1:{free_port()}/readyz").ready() is False


async def test_one_that_says_nothing_may_be_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with asyncio.timeout(5):
            port = silent.getsockname()[1]
            assert await Readyz(f"http://127.0.0.1:{port}/readyz").ready() is None
