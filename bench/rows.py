"""All rows of the benchmark. Each is a coroutine that returns its results."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import measure, nodes, rollout, router, routing
from bench.pulls import containerd_pull, time_to_first_byte
from bench.report import Result, judged, ratios, result
from bench.servers import GIB, MIB, BlobDirectory, benching, check, tools
from bench.slow_disk import slow_disk
from bench.tracing import tracing
from bench.waiting import waiting
from tests.support.otlp import OtlpReceiver, exporting_to

Row = Callable[[Path, int], Awaitable[list[Result]]]
Calls = list[tuple[int, list[str]]]


@dataclass
class Variant:
    """One server under test, and its samples: GB (10^9 bytes) per second and CPU-seconds per GB."""

    port: int
    pids: Sequence[int]
    speed: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    async def run(self, calls: Calls) -> None:
        before = measure.cpu_s(*self.pids)
        seconds, count = await measure.at_once(calls)
        self.speed.append(count / 1e9 / seconds)
        self.cpu.append((measure.cpu_s(*self.pids) - before) / (count / 1e9))

    @property
    def peak_mib(self) -> float:
        return sum(measure.peak_mib(pid) for pid in self.pids)


async def interleaved(variants: dict[str, Variant], calls: Callable[[Variant], Calls], runs: int) -> None:
    """Run every variant once per round, in random order, after one warm-up round."""
    for variant in variants.values():
        await measure.at_once(calls(variant))
        for pid in variant.pids:
            measure.reset_peak(pid)
    for _ in range(runs):
        for variant in random.sample(list(variants.values()), len(variants)):
            await variant.run(calls(variant))


def compared(row: str, variants: dict[str, Variant], speed: str, cpu: str) -> list[Result]:
    """Ratios of the registry to every other variant, with targets for Go, then the absolute figures."""
    ours = variants["heliograph"]
    found = []
    for name, other in variants.items():
        if other is not ours:
            goals = (speed, cpu) if name == "go" else ("", "")
            found.append(ratios(f"{row} throughput / {name}", ours.speed, other.speed, goals[0]))
            found.append(ratios(f"{row} CPU a GB / {name}", ours.cpu, other.cpu, goals[1]))
    for name, variant in variants.items():
        found.append(result(f"{row} {name}: throughput", variant.speed, "GB/s"))
        found.append(result(f"{row} {name}: CPU", variant.cpu, "s/GB"))
        found.append(result(f"{row} {name}: peak RSS", [variant.peak_mib], "MiB"))
    return found


async def serve(
    row: str, size_bytes: int, clients: int, repeats: int, goals: tuple[str, str], directory: Path, runs: int
) -> list[Result]:
    """Serve blobs from the page cache: `repeats` of them to each client, over one connection."""
    async with benching(directory) as bench:
        content = bench.content("content")
        path = content.blob(size_bytes)
        port, registry = await bench.registry("node", content)
        go_port, go = await bench.yardstick("serve", str(content.directory))
        nginx_port, workers = await bench.nginx(content)
        variants = {
            "heliograph": Variant(port, [registry.pid]),
            "go": Variant(go_port, [go.pid]),
            "nginx": Variant(nginx_port, workers),
        }
        await check([port, go_port, nginx_port], path)
        await interleaved(variants, lambda one: [(one.port, [path] * repeats)] * clients, runs)
        return compared(row, variants, *goals)


async def relay(
    row: str, size_bytes: int, clients: int, goals: tuple[str, str], directory: Path, runs: int
) -> list[Result]:
    """Relay blobs from another registry on this machine, the origin for all; its CPU does not count."""
    async with benching(directory) as bench:
        held = bench.content("seed")
        path = held.blob(size_bytes)
        await bench.resolver()
        seed_port, _ = await bench.registry("seed", held)
        # the router and the clients share a process
        patient = {"HELIOGRAPH_FIRST_BYTE_TIMEOUT_MS": "5000"}
        port, registry = await bench.registry("node", bench.content("node"), **patient)
        go_port, go = await bench.yardstick("relay", f"http://127.0.0.1:{seed_port}")
        nginx_port, workers = await bench.nginx_relay(seed_port)
        variants = {
            "heliograph": Variant(port, [registry.pid]),
            "go": Variant(go_port, [go.pid]),
            "nginx": Variant(nginx_port, workers),
        }
        bench.holds(seed_port, path, size_bytes)
        await check([port, go_port, nginx_port], path)

        def fresh(variant: Variant) -> Calls:
            names = [held.alias(path) for _ in range(clients)]
            for name in names:
                bench.holds(seed_port, name, size_bytes)
            return [(variant.port, [name]) for name in names]

        await interleaved(variants, fresh, runs)
        return compared(row, variants, *goals)


async def manifests(directory: Path, runs: int) -> list[Result]:
    """1 KiB manifests over 32 connections; each server in turn for one second."""
    async with benching(directory) as bench:
        content = bench.content("content")
        path = content.manifest(1 << 10)
        ports = {
            "heliograph": (await bench.registry("node", content))[0],
            "go": (await bench.yardstick("serve", str(content.directory)))[0],
            "nginx": (await bench.nginx(content))[0],
        }
        await check(list(ports.values()), path)
        rates: dict[str, list[float]] = {name: [] for name in ports}
        for _ in range(runs):
            for name in random.sample(list(ports), len(ports)):
                ask = partial(measure.requests_per_second, tools() / "wrk", connections=32, seconds=1)
                rates[name].append(await asyncio.to_thread(ask, ports[name], path))
        return [
            ratios("manifests a second / go", rates["heliograph"], rates["go"], ">= 0.95"),
            ratios("manifests a second / nginx", rates["heliograph"], rates["nginx"]),
            *(result(f"manifests {name}", samples, "1/s") for name, samples in rates.items()),
        ]


async def memory(directory: Path, runs: int) -> list[Result]:
    """A traced registry serves 8 x 1 GiB and relays 8 x 1 GiB at once; the worst of a few rounds."""
    rounds = max(1, runs // 5)
    resident, sockets = [], []
    with OtlpReceiver() as receiver:
        async with benching(directory) as bench:
            here, there = bench.content("node"), bench.content("seed")
            local, far = here.blob(GIB), there.blob(GIB)
            await bench.resolver()
            seed_port, _ = await bench.registry("seed", there)
            port, registry = await bench.registry("node", here, **exporting_to(receiver))
            for _ in range(rounds):
                calls = [(port, [local]) for _ in range(8)]
                calls += [(port, [_far(there, far, bench.holds, seed_port)]) for _ in range(8)]
                measure.reset_peak(registry.pid)
                moving = asyncio.create_task(measure.at_once(calls))
                held = 0.0
                while not moving.done():
                    held = max(held, await asyncio.to_thread(measure.socket_mib, registry.pid))
                    await asyncio.wait([moving], timeout=0.02)
                await moving
                sockets.append(held)
                resident.append(measure.peak_mib(registry.pid))
    return [
        _worst("memory peak RSS", resident, "<= 96"),
        _worst("memory of sockets", sockets, "<= 24"),
    ]


def _far(held: BlobDirectory, path: str, holds: Callable[[int, str, int], None], port: int) -> str:
    name = held.alias(path)
    holds(port, name, GIB)
    return name


def _worst(name: str, samples: list[float], target: str) -> Result:
    return judged(name, max(samples), min(samples), max(samples), len(samples), "MiB, worst", target)


ROWS: dict[str, Row] = {
    "serve-1g-1": partial(serve, "serve-1g-1", GIB, 1, 1, (">= 0.9", "<= 1.2")),
    "serve-1g-8": partial(serve, "serve-1g-8", GIB, 8, 1, (">= 1.0", "<= 1.0")),
    "serve-1m": partial(serve, "serve-1m", MIB, 8, 100, (">= 0.9", "<= 1.35")),
    "serve-10m": partial(serve, "serve-10m", 10 * MIB, 8, 20, (">= 0.9", "<= 1.35")),
    "relay-1g-1": partial(relay, "relay-1g-1", GIB, 1, (">= 1.6", "<= 0.4")),
    "relay-1g-8": partial(relay, "relay-1g-8", GIB, 8, (">= 1.6", "<= 0.4")),
    "relay-32m-110": partial(relay, "relay-32m-110", 32 * MIB, 110, (">= 0.7", "<= 0.8")),
    "slow-disk": slow_disk,
    "manifests": manifests,
    "memory": memory,
    "ttfb": time_to_first_byte,
    "containerd-pull": containerd_pull,
    "index": routing.index,
    "rollout": rollout.rollout,
    "waiting-1": partial(waiting, 1),
    "waiting-3": partial(waiting, 3),
    "tracing": tracing,
    **router.ROWS,
    **nodes.ROWS,
}
