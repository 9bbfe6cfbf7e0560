"""Simulated registries that call a router, in a separate process: `python -m bench.callers MODE ...`."""

import argparse
import asyncio
import json
import random
import sys
import time
from typing import Any

import grpc

from bench.fleet import digest
from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub

_MOST_OPEN = 2_000


def request(first: int, keys: int, known: int, **more: Any) -> pb.ResolveRequest:
    asked = [pb.Key(digest=digest((first + number) % known)) for number in range(keys)]
    return pb.ResolveRequest(keys=asked, node="requester", **more)


async def closed(stub: ResolverStub, callers: int, keys: int, known: int, seconds: int) -> dict[str, float]:
    """Each of `callers` calls again as soon as it has an answer. Returns the calls per second."""
    requests = [request(random.randrange(known), keys, known) for _ in range(1_000)]
    ends, calls = time.monotonic() + seconds, 0

    async def caller() -> None:
        nonlocal calls
        while time.monotonic() < ends:
            answer = await stub.Resolve(random.choice(requests), timeout=30)
            if any(found.status != pb.FOUND for found in answer.resolutions):
                raise RuntimeError("not found")
            calls += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return {"rate": calls / seconds}


async def steady(stub: ResolverStub, rate: int, known: int, seconds: int) -> dict[str, list[float]]:
    """`rate` calls per second, whether or not earlier ones were answered. Returns the duration of each."""
    took: list[float] = []
    calls: set[asyncio.Task[None]] = set()
    began = time.monotonic()

    async def call() -> None:
        at = time.monotonic()
        await stub.Resolve(request(random.randrange(known), 1, known), timeout=30)
        took.append(time.monotonic() - at)

    for number in range(rate * seconds):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        if len(calls) < _MOST_OPEN:
            task = asyncio.create_task(call())
            calls.add(task)
            task.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    return {"took_s": took}


async def parked(stub: ResolverStub, count: int) -> dict[str, list[float]]:
    """`count` nodes wait for digest 0. Returns when each was answered, on the machine's monotonic clock."""
    answered: list[float] = []

    async def call(number: int) -> None:
        asked = pb.ResolveRequest(keys=[pb.Key(digest=digest(0))], node=f"n{number}", wait_ms=60_000)
        answer = await stub.Resolve(asked, timeout=90)
        if number and answer.resolutions[0].status == pb.FOUND:
            answered.append(time.monotonic())

    await call(0)  # the leader
    calls = [asyncio.create_task(call(number)) for number in range(1, count + 1)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await asyncio.gather(*calls)
    return {"answered_s": answered}


async def main(mode: str, port: int, numbers: list[int]) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = ResolverStub(channel)
        await channel.channel_ready()
        called: Any = {"closed": closed, "steady": steady, "parked": parked}[mode]
        print(json.dumps(await called(stub, *numbers)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["closed", "steady", "parked"])
    parser.add_argument("numbers", type=int, nargs="+")
    given = parser.parse_args()
    asyncio.run(main(given.mode, given.numbers[0], given.numbers[1:]))
