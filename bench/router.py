"""Rows of a whole router process; nodes and callers run in processes of their own."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from bench import measure
from bench.fleet import DIGESTS
from bench.report import Result, result
from heliograph_shared.rpc import resolver_pb2 as pb
from tests.integration.router_support import RouterProcess, router_process
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

NODES, EACH = 5_000, 2_000
PUBLISHERS, MESSAGES, PER_MESSAGE = 200, 40_000, 5
WAITERS, COPIES = 1_000, 500
_LINE_BYTES = 16 << 20


class BenchProcess:
    """A process of the benchmark that waits for `go` and then prints one line of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ready(self) -> None:
        assert (await self._line()).strip() == b"ready"

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    async def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self._line())
        return found

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        async with asyncio.timeout(300):
            return await self._process.stdout.readline()


@asynccontextmanager
async def bench_process(module: str, *arguments: str | int) -> AsyncIterator[BenchProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"bench.{module}",
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    try:
        yield BenchProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def routing(directory: Path) -> AsyncIterator[tuple[NatsServer, RouterProcess]]:
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(NatsServer(directory))
        router = await stack.enter_async_context(router_process(directory, bus.url, HELIOGRAPH_LEASE_S="600"))
        yield bus, router


async def has_pairs(router: RouterProcess, count: int, within: float = 120) -> None:
    async def reached() -> bool:
        return int((await router.api.Stats(pb.StatsRequest(), timeout=30)).pairs) >= count

    await eventually(reached, within, f"the router does not reach {count} pairs", interval=0.02)


async def ingest(directory: Path, runs: int) -> list[Result]:
    """200 nodes send 40,000 deltas of 5 digests as fast as possible; each round starts a new router."""
    cpu, rates = [], []
    for _ in range(max(1, runs // 3)):
        async with routing(directory) as (bus, router):
            await router.start()
            async with bench_process(
                "fleet", "publish", bus.port, PUBLISHERS, MESSAGES, PER_MESSAGE, 0
            ) as nodes:
                await nodes.ready()
                before, began = measure.cpu_s(router.process.pid), monotonic()
                nodes.go()
                await has_pairs(router, MESSAGES * PER_MESSAGE)
                took = monotonic() - began
                cpu.append(1e6 * (measure.cpu_s(router.process.pid) - before) / (MESSAGES * PER_MESSAGE))
                rates.append(MESSAGES * PER_MESSAGE / took)
    return [
        result("ingest CPU of the router, 5 digests a message", cpu, "us/digest", "<= 4"),
        result("ingest rate, the nodes on the same two cores", rates, "digests/s"),
    ]


async def rebuild(directory: Path, runs: int) -> list[Result]:
    """A router starts while nodes with ten million pairs are running; it is asked to resolve meanwhile."""
    seconds, cpu, tail = [], [], []
    for _ in range(max(1, runs // 5)):
        async with (
            routing(directory) as (bus, router),
            bench_process("fleet", "serve", bus.port, NODES, EACH) as nodes,
        ):
            await nodes.ready()
            began = monotonic()
            await router.start()
            took = await asks_until_built(router)
            seconds.append(monotonic() - began)
            cpu.append(measure.cpu_s(router.process.pid))
            tail.append(1000 * sorted(took)[len(took) * 99 // 100])
    return [
        result("rebuild of 10 M pairs", seconds, "s", "<= 45"),
        result("rebuild CPU of the router", cpu, "s"),
        result("rebuild resolves meanwhile, p99", tail, "ms"),
    ]


async def asks_until_built(router: RouterProcess) -> list[float]:
    took, built = [], asyncio.create_task(has_pairs(router, NODES * EACH, 300))
    while not built.done():
        began = monotonic()
        await router.ask("sha256:" + "0" * 64)
        took.append(monotonic() - began)
        await asyncio.wait([built], timeout=0.05)
    await built
    return took


async def resolve(directory: Path, runs: int) -> list[Result]:
    """64 callers of one key, and of ten; then 600 calls/s while 100,000 digests/s arrive."""
    single: list[float] = []
    many: list[float] = []
    tail: list[float] = []
    async with routing(directory) as (bus, router):
        await router.start()
        async with bench_process("fleet", "publish", bus.port, PUBLISHERS, MESSAGES, PER_MESSAGE, 0) as nodes:
            await nodes.ready()
            nodes.go()
            await has_pairs(router, MESSAGES * PER_MESSAGE)
        for _ in range(max(1, runs // 3)):
            for keys, rates in ((1, single), (10, many)):
                async with bench_process("callers", "closed", router.port, 64, keys, DIGESTS, 3) as callers:
                    rates.append(keys * (await callers.figures())["rate"])
    for _ in range(max(1, runs // 3)):
        async with routing(directory) as (bus, router):
            await router.start()
            async with (
                bench_process(
                    "fleet", "publish", bus.port, PUBLISHERS, 3 * 20_000, PER_MESSAGE, 20_000
                ) as nodes,
                bench_process("callers", "steady", router.port, 600, DIGESTS, 5) as callers,
            ):
                await nodes.ready()
                nodes.go()
                took = sorted((await callers.figures())["took_s"])
                await has_pairs(router, 3 * 20_000 * PER_MESSAGE)
            tail.append(1000 * took[len(took) * 99 // 100])
    return [
        result("resolve calls of one key, 64 callers", single, "1/s", ">= 1500"),
        result("resolve keys, ten a call, 64 callers", many, "1/s", ">= 12000"),
        result("resolve p99, 600 calls/s while 100,000 digests/s come", tail, "ms", "<= 50"),
    ]


async def parked(directory: Path, runs: int) -> list[Result]:
    """1,000 calls wait, and 500 copies are announced at the same moment."""
    tail, middle = [], []
    for _ in range(max(1, runs // 3)):
        async with routing(directory) as (bus, router):
            router.process.environment["HELIOGRAPH_LEASE_S"] = "20"  # the router is ready after half of it
            await router.start()
            nodes = bench_process("fleet", "announce", bus.port, WAITERS + 1 + COPIES, COPIES)
            async with nodes as fleet:
                await fleet.ready()
                await router.ready()
                async with bench_process("callers", "parked", router.port, WAITERS) as callers:
                    await eventually(lambda router=router: waiting(router), 60)  # type: ignore[misc]
                    callers.go()
                    fleet.go()
                    began = (await fleet.figures())["began_s"]
                    answered = sorted((await callers.figures())["answered_s"])
            if len(answered) != WAITERS:
                raise RuntimeError(f"only {len(answered)} of {WAITERS} calls were answered")
            tail.append(1000 * (answered[len(answered) * 99 // 100] - began))
            middle.append(1000 * (answered[len(answered) // 2] - began))
    return [
        result("parked 1,000 calls released, p99", tail, "ms", "<= 300"),
        result("parked 1,000 calls released, p50", middle, "ms"),
    ]


async def waiting(router: RouterProcess) -> bool:
    return (await router.metrics())["heliograph_router_resolves_waiting"] >= WAITERS


ROWS = {"ingest": ingest, "rebuild": rebuild, "resolve": resolve, "parked": parked}
