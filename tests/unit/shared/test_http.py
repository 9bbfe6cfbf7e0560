"""uvicorn on our socket: it serves while the body runs, and lets requests finish."""

import asyncio
from typing import Any

import httpx
import pytest

from heliograph_shared.address import Address
from heliograph_shared.http import serve_http
from heliograph_shared.runtime import bind


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_it_serves_while_the_body_runs() -> None:
    bound = bind(Address("127.0.0.1", 0))
    host, port = bound.getsockname()
    async with serve_http(hello, bound), httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://{host}:{port}/")
        assert answer.text == "hello"
        assert "server" not in answer.headers
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_a_request_under_way_is_finished() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await answer.wait()
        await hello(scope, receive, send)

    bound = bind(Address("127.0.0.1", 0))
    host, port = bound.getsockname()
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.TaskGroup() as group:
        async with serve_http(slow, bound):
            request = group.create_task(client.get(f"http://{host}:{port}/"))
            await asked.wait()
            asyncio.get_running_loop().call_later(0.1, answer.set)
        assert (await request).text == "hello"


async def test_a_failing_body_stops_it() -> None:
    bound = bind(Address("127.0.0.1", 0))
    with pytest.raises(ExceptionGroup) as caught:
        async with serve_http(hello, bound):
            raise LookupError
    assert caught.group_contains(LookupError)
    assert bound.fileno() == -1
