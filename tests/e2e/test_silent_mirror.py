"""A mirror that accepts a request and sends no header: containerd 2.3 and newer go upstream after 30 s."""

import asyncio
import time
from pathlib import Path

import pytest

from heliograph_registry.mirror.deadline import LONGEST_S
from tests.e2e.cluster_support import REFERENCE, pushed
from tests.e2e.conftest import ContainerdFactory
from tests.support.bad_peer import BadPeer, Exchange
from tests.support.machines import SERIES, absent
from tests.support.upstream import Upstream

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

PATIENT = [series for series in SERIES if series != "2.4"]
HEADERS_WITHIN_S = 30


async def silent_for_tags(exchange: Exchange) -> None:
    if exchange.head.startswith("HEAD "):
        await exchange.abandoned()
    else:
        await exchange.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.skipif("2.4" not in SERIES, reason="no containerd 2.4")
async def test_containerd_2_4_gives_up_after_30_s_and_older_ones_wait(
    containerd: ContainerdFactory, upstream: Upstream, tmp_path: Path
) -> None:
    image = await pushed(tmp_path, upstream, [1000])
    newest, *patient = await asyncio.gather(*(containerd(series) for series in ("2.4", *PATIENT)))
    async with BadPeer(silent_for_tags).serve() as mirror:
        for daemon in (newest, *patient):
            daemon.mirror("reg.test", f"http://{mirror.address}", server=upstream.url)
        began = time.monotonic()
        waiting = [asyncio.create_task(daemon.cri.pull(REFERENCE, within=120)) for daemon in patient]
        assert await newest.cri.pull(REFERENCE, within=120) == image.config.digest
        took_s = time.monotonic() - began
        done, _ = await asyncio.wait(waiting, timeout=2)
        assert not done
    assert LONGEST_S < HEADERS_WITHIN_S <= took_s < HEADERS_WITHIN_S + 10
    assert await asyncio.gather(*waiting) == [image.config.digest] * len(patient)
