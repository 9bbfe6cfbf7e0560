"""The CPU cost of tracing per request to a registry: off, on, and on for one request in a hundred."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from bench import measure
from bench.report import Result, ratios, result
from bench.servers import MIB, benching, check
from tests.support.otlp import OtlpReceiver, exporting_to

_SERVED, _RELAYED = 400, 100
_SMALL_BYTES = 4 << 10


async def tracing(directory: Path, runs: int) -> list[Result]:
    """Clients send no trace of their own, so each request starts one: the most expensive case.

    The CPU is that of the whole process, which exports spans by gRPC while requests continue.
    """
    with OtlpReceiver() as receiver:
        everything = exporting_to(receiver) | {"OTEL_BSP_SCHEDULE_DELAY": "1000"}
        ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
        patient = {"HELIOGRAPH_FIRST_BYTE_TIMEOUT_MS": "5000"}  # the router and the receiver share a process
        settings: dict[str, dict[str, str]] = {"off": {}, "on": everything, "one in 100": everything | ratio}
        async with benching(directory) as bench:
            here, there = bench.content("node"), bench.content("seed")
            await bench.resolver()
            seed_port, _ = await bench.registry("seed", there)
            servers = {
                name: await bench.registry(name.replace(" ", "-"), here, **environment, **patient)
                for name, environment in settings.items()
            }
            manifest, blob = here.manifest(1 << 10), here.blob(_SMALL_BYTES)
            far, large = there.blob(_SMALL_BYTES), here.blob(64 * MIB)
            await check([port for port, _ in servers.values()], blob)

            def relayed() -> list[str]:
                names = [there.alias(far) for _ in range(_RELAYED)]
                for name in names:
                    bench.holds(seed_port, name, _SMALL_BYTES)
                return names

            kinds: dict[str, Callable[[], list[str]]] = {
                "manifest": lambda: [manifest] * _SERVED,
                "blob": lambda: [blob] * _SERVED,
                "relayed blob": relayed,
                "64 MiB blob": lambda: [large] * 8,
            }
            spent: dict[tuple[str, str], list[float]] = {}
            for turn in range(runs + 1):  # the first does not count
                for kind, paths_of in kinds.items():
                    paths = paths_of()
                    for name in random.sample(list(servers), len(servers)):
                        port, process = servers[name]
                        before = measure.cpu_s(process.pid)
                        await asyncio.to_thread(measure.fetch_many, port, paths)
                        micros = (measure.cpu_s(process.pid) - before) * 1e6 / len(paths)
                        if turn:
                            spent.setdefault((kind, name), []).append(micros)
    return [
        *(
            ratios(f"tracing {kind}: {name} / off", spent[kind, name], spent[kind, "off"])
            for kind in kinds
            for name in ("on", "one in 100")
        ),
        *(result(f"tracing {kind}: {name}", samples, "us CPU") for (kind, name), samples in spent.items()),
    ]
