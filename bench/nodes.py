"""Rows of a node: how soon its content is known, and the memory of its idle services."""

import asyncio
import re
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC
from pathlib import Path

import grpc

from bench.report import Result, judged, result
from bench.servers import BlobDirectory
from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub
from tests.support.containerd import Containerd
from tests.support.images import Image, make_image, push
from tests.support.machines import release
from tests.support.nats import NatsServer
from tests.support.otlp import OtlpReceiver, exporting_to
from tests.support.system import running_system
from tests.support.upstream import Upstream

IMAGES, LAYERS = 7, 20
BLOBS = 2_000
_IDLE_S = 15
_BETWEEN_PULLS_S = 8
_POLL_S = 0.001


async def announce(directory: Path, runs: int) -> list[Result]:
    """Measure from a blob's commit until a router names it; containerd 2.1 pulls images of 20 small layers.

    Pulls are 8 s apart. The commit time is containerd's own `created_at`, on the same clock. The first image
    does not count, because the router does not know the node before it. `runs` is not used.
    """
    del runs
    short = Path(tempfile.mkdtemp(prefix="hb-", dir="/tmp"))  # socket paths must be short
    took: list[float] = []
    async with (
        NatsServer(directory) as nats,
        running_system(directory, nats) as system,
        Upstream(directory) as upstream,
        Containerd(release("2"), short, log=directory / "containerd.log") as daemon,
    ):
        await system.start_router()
        await system.add_node("node", daemon.content_path, daemon)
        daemon.mirror("reg.test", server=upstream.url)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{system.routers[0].port}") as channel:
            for number in range(IMAGES):
                image = make_image(directory / f"image-{number}", [4096] * LAYERS, seed=number)
                await push(image, upstream.url, "team/app", f"v{number}")
                await asyncio.sleep(_BETWEEN_PULLS_S)  # like a node that pulls now and then
                watched = asyncio.create_task(first_named(ResolverStub(channel), image))
                await daemon.cri.pull(f"reg.test/team/app:v{number}")
                for digest, named_s in (await watched).items() if number else ():
                    created = (await daemon.store.info(digest)).created_at.ToDatetime(UTC)
                    took.append(1000 * (named_s - created.timestamp()))
    took.sort()
    p99 = took[len(took) * 99 // 100]
    return [
        judged("announce p50", statistics.median(took), took[0], took[-1], len(took), "ms", "<= 15"),
        judged("announce p99", p99, took[0], took[-1], len(took), "ms", "<= 300"),
    ]


async def first_named(stub: ResolverStub, image: Image) -> dict[str, float]:
    """When a router first named a holder of each blob, in seconds since the epoch."""
    missing = [blob.digest for blob in image.pulled()]
    named: dict[str, float] = {}
    async with asyncio.timeout(60):
        while missing:
            asked = pb.ResolveRequest(keys=[pb.Key(digest=digest) for digest in missing])
            answer = await stub.Resolve(asked, timeout=5)
            now_s = time.time()
            found = {digest for digest, one in zip(missing, answer.resolutions, strict=True) if one.peers}
            named.update(dict.fromkeys(found, now_s))
            missing = [digest for digest in missing if digest not in found]
            await asyncio.sleep(_POLL_S)
    return named


async def idle(directory: Path, runs: int) -> list[Result]:
    """Resident memory of each service 15 s after 2,000 blobs were announced, with tracing on."""
    content = BlobDirectory(directory / "layout")
    (content.directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (content.directory / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    paths = [content.blob(100) for _ in range(BLOBS)]
    sizes: dict[str, list[float]] = {"indexer": [], "registry": [], "router": []}
    for number in range(max(1, runs // 5)):
        run = directory / str(number)
        run.mkdir()
        async with AsyncExitStack() as stack:
            receiver = stack.enter_context(OtlpReceiver())
            nats = await stack.enter_async_context(NatsServer(run))
            system = await stack.enter_async_context(running_system(run, nats, exporting_to(receiver)))
            await system.start_router()
            node = await system.add_node("node", content.directory)
            digests = [path.rpartition("/")[2] for path in paths]
            for at in range(0, BLOBS, 500):
                await system.announced("node", *digests[at : at + 500], within=60)
            await asyncio.sleep(_IDLE_S)
            for name, process in (
                ("indexer", node.indexer),
                ("registry", node.registry),
                ("router", system.router),
            ):
                sizes[name].append(resident_mib(process.pid))
    return [result(f"idle RSS of the {name}", found, "MiB", "<= 80") for name, found in sizes.items()]


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


ROWS = {"announce": announce, "idle": idle}
