"""What a pull test expects of this registry's own data port: in memory, and a registry over loopback."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from heliograph_registry.debug.adapters.loopback import Loopback
from heliograph_registry.debug.errors import PullInterrupted
from heliograph_registry.debug.ports import DataPort, PullResponse
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import LOCAL
from heliograph_shared.address import Address
from heliograph_shared.digest import digest_of
from tests.integration.registry_support import serve_registry
from tests.support.fakes.data_port import MemoryDataPort
from tests.support.ports import free_port
from tests.support.resolver import KnownContent, serve_resolver

BLOB = bytes(range(256)) * 80_000
MANIFEST = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()
BLOB_DIGEST, MANIFEST_DIGEST = digest_of(BLOB), digest_of(MANIFEST)
BLOB_PATH = f"/v2/app/blobs/{BLOB_DIGEST}?ns=reg.test"
TAG_PATH = "/v2/app/manifests/1?ns=reg.test"
ABSENT_PATH = f"/v2/app/blobs/{digest_of(b'absent')}?ns=reg.test"


@dataclass
class Ports:
    """A port whose node holds the blob and the tagged manifest, and one where nobody listens."""

    serving: DataPort
    down: DataPort


@pytest.fixture(params=["memory", "loopback"])
async def ports(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ports]:
    if request.param == "memory":
        content = {BLOB_DIGEST: BLOB, MANIFEST_DIGEST: MANIFEST}
        yield Ports(MemoryDataPort(content, {"1": MANIFEST_DIGEST}), MemoryDataPort(down=True))
        return
    async with AsyncExitStack() as stack:
        router_port = free_port()
        await stack.enter_async_context(serve_resolver(KnownContent(), router_port))
        registry = await stack.enter_async_context(serve_registry(tmp_path / "a", "a", router_port))
        registry.put(BLOB)
        registry.write_state({"reg.test/app:1": registry.put(MANIFEST)})
        yield Ports(Loopback(Address.parse(registry.address)), Loopback(Address("127.0.0.1", free_port())))


def body_of(response: PullResponse) -> bytes:
    """All that can be read, as long as the response does not end."""
    received, buffer = bytearray(), memoryview(bytearray(100_000))
    while count := response.read(buffer):
        received += buffer[:count]
    return bytes(received)


async def test_a_blob_is_read_to_its_end(ports: Ports) -> None:
    def pull() -> None:
        connection = ports.serving.open()
        response = connection.request("GET", BLOB_PATH, {})
        assert (response.status, response.source, response.reason) == (200, LOCAL, None)
        assert response.digest == BLOB_DIGEST
        complete_at_first = response.complete
        assert body_of(response) == BLOB
        assert (complete_at_first, response.complete) == (False, True)
        connection.close()

    await asyncio.to_thread(pull)


async def test_the_rest_of_a_blob_is_read(ports: Ports) -> None:
    def pull() -> None:
        connection = ports.serving.open()
        response = connection.request("GET", BLOB_PATH, {"range": "bytes=1000-"})
        assert response.status == 206
        assert body_of(response) == BLOB[1000:]
        assert response.complete
        connection.close()

    await asyncio.to_thread(pull)


async def test_a_connection_is_used_for_one_request_after_the_other(ports: Ports) -> None:
    def pull() -> None:
        connection = ports.serving.open()
        head = connection.request("HEAD", TAG_PATH, {})
        assert (head.status, head.digest) == (200, MANIFEST_DIGEST)
        absent = connection.request("GET", ABSENT_PATH, {})
        assert (absent.status, absent.reason) == (404, Reason.NOT_FOUND)
        manifest = connection.request("GET", TAG_PATH, {})
        assert body_of(manifest) == MANIFEST
        connection.close()

    await asyncio.to_thread(pull)


async def test_where_nobody_listens_a_request_is_interrupted(ports: Ports) -> None:
    def pull() -> None:
        connection = ports.down.open()
        with pytest.raises(PullInterrupted):
            connection.request("HEAD", TAG_PATH, {})
        connection.close()

    await asyncio.to_thread(pull)


async def test_what_is_aborted_does_not_become_complete(ports: Ports) -> None:
    def pull() -> None:
        connection = ports.serving.open()
        response = connection.request("GET", BLOB_PATH, {})
        assert response.read(memoryview(bytearray(1000)))
        connection.abort()
        with suppress(PullInterrupted):
            body_of(response)
        assert not response.complete
        connection.close()

    await asyncio.to_thread(pull)
