"""Real containerds ask the hosts that our reading of a `hosts.toml` says, before mirrors are added and after.

Every host is a path of one server, which has nothing: a pull asks them all, in order, and fails. It takes
a few milliseconds, so that many files can be tried.
"""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import grpc
import pytest
import pytest_asyncio

from heliograph_configurator.domain import kept_hosts
from heliograph_configurator.domain.containerd_reading import Reading, Series, read
from heliograph_configurator.domain.hosts_toml import BrokenHosts
from heliograph_configurator.domain.mirror import MirrorHosts
from tests.e2e.lab_support import REPOSITORY, TAG, Lab
from tests.support.machines import absent
from tests.support.mirror import FakeMirror, running_mirror
from tests.unit.configurator.hosts_files import generated, single_mistakes

pytestmark = [
    pytest.mark.skipif(bool(absent()), reason=absent()),
    pytest.mark.asyncio(loop_scope="module"),
]

GENERATED = 40
SERIES_OF = {"1.6": Series.V1, "1.7": Series.V1, "2": Series.V2_0, "2.4": Series.V2_2}
ASKED = f"/{REPOSITORY}/manifests/{TAG}"

Asked = list[tuple[str, str]]
"""The path at which each host was asked for the tag, with a header of the host's, in order."""


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[FakeMirror]:
    async with running_mirror() as fake:
        fake.answers_hellos = True
        yield fake


async def asked(lab: Lab, server: FakeMirror, content: bytes) -> Asked:
    address = urlsplit(server.url).netloc
    lab.put("hosts.toml", content, address)
    server.forget()
    with pytest.raises(grpc.aio.AioRpcError):
        await lab.node.cri.pull(f"{address}/{REPOSITORY}:{TAG}")
    found = [
        (one.path.removesuffix(ASKED), one.headers.get("x-sign", one.headers.get("x-more", "")))
        for one in server.requests
        if one.method == "HEAD"
    ]
    return list(dict.fromkeys(found))


def expected(reading: Reading) -> Asked:
    """A host that resolves no tags is not asked for one."""
    if reading.dropped:
        return [("/v2", "")]
    found = []
    for host in reading.hosts:
        header = {name: values[-1] for name, values in host.header}
        path = urlsplit(host.url).path if host.url else "/v2"
        if "resolve" in host.capabilities:
            found.append((path, header.get("X-Sign", header.get("X-More", ""))))
    return list(dict.fromkeys(found))


async def test_each_containerd_asks_the_hosts_of_our_reading_and_after_us_the_mirror_too(
    lab: Lab, server: FakeMirror
) -> None:
    address = urlsplit(server.url).netloc
    mirror = MirrorHosts((f"{server.url}/mirror",), resolves_tags=True)
    series = SERIES_OF[lab.node.release.series]
    kept = refused = 0
    for text in [*single_mistakes(), *generated(GENERATED)]:
        content = text.replace("{}", address).encode()
        reading = read(content, series)
        before = await asked(lab, server, content)
        assert before == expected(reading), (text, reading)
        try:
            written = kept_hosts.with_mirrors(mirror, content, ())
        except BrokenHosts:
            refused += 1
            continue
        kept += 1
        after = await asked(lab, server, written)
        if not reading.dropped:
            assert after == [("/mirror/v2", ""), *before], (text, written.decode())
    assert kept > GENERATED / 4
    assert refused > GENERATED / 4
