"""Users and TLS of a real nats-server: who gets in, and that new files are used for the next connection."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from nats.aio.client import Client

from heliograph_shared import subjects
from heliograph_shared.bus import connect
from heliograph_shared.bus_client import Access
from heliograph_shared.tls import TlsFiles
from tests.support.certificates import Authority, Identity
from tests.support.nats import NatsServer
from tests.support.waiting import eventually


@dataclass
class Guarded:
    """A server that wants TLS from both sides, and a user; and the files by which it and we know that."""

    server: NatsServer
    directory: Path
    authority: Authority
    ours: Identity

    @property
    def url(self) -> str:
        return f"tls://{self.server.host}:{self.server.port}"

    @property
    def user_file(self) -> Path:
        return self.directory / "user"

    @property
    def access(self) -> Access:
        files = TlsFiles(self.ours.certificate, self.ours.key, self.ours.ca)
        return Access.by_files([self.url], self.user_file, files)

    def let_in(self, password: str) -> None:
        """Write the server's config; it reads it at the next start or SIGHUP."""
        own = self.authority.issue(self.directory / "server")
        tls = f'cert_file: "{own.certificate}", key_file: "{own.key}", ca_file: "{own.ca}", verify: true'
        name = f"server_name: {self.server.name}"  # as on the command line, or it reloads nothing
        users = f'users: [{{user: u, password: "{password}"}}]'
        (self.directory / "nats.conf").write_text(f"{name}\ntls {{ {tls} }}\nauthorization {{ {users} }}\n")

    def reload(self) -> None:
        self.server.process.send(signal.SIGHUP)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    authority = Authority()
    server = NatsServer(tmp_path, arguments=["-c", tmp_path / "nats.conf"])
    made = Guarded(server, tmp_path, authority, authority.issue(tmp_path / "ours"))
    made.let_in("first")
    made.user_file.write_text("u:first\n")
    async with server:
        yield made


@asynccontextmanager
async def connecting(url: str, access: Access) -> AsyncIterator[tuple[Client, list[str]]]:
    """A client that connects beside the body, and what has happened to it."""
    told: list[str] = []

    async def connected(_: Client) -> None:
        told.append("connected")

    async def lost() -> None:
        told.append("lost")

    async def back() -> None:
        told.append("back")

    async with connect(
        [url], name="x", on_connect=connected, on_disconnect=lost, on_reconnect=back, access=access
    ) as client:
        yield client, told


async def test_with_certificate_and_password_it_connects(guarded: Guarded) -> None:
    async with connecting(guarded.url, guarded.access) as (client, _):
        await eventually(lambda: client.is_connected)
        await client.flush()
    by_name = guarded.url.replace("127.0.0.1", "localhost")
    async with connecting(by_name, guarded.access) as (client, _):
        await eventually(lambda: client.is_connected)


async def test_a_server_of_another_authority_is_not_believed_until_its_authority_is(guarded: Guarded) -> None:
    Authority().issue(guarded.ours.ca.parent)
    async with connecting(guarded.url, guarded.access) as (client, told):
        await asyncio.sleep(1)  # several attempts
        assert not told
        guarded.authority.issue(guarded.ours.ca.parent)
        await eventually(lambda: client.is_connected)


async def test_a_new_password_is_used_when_the_server_hangs_up(guarded: Guarded) -> None:
    async with connecting(guarded.url, guarded.access) as (client, told):
        await eventually(lambda: client.is_connected)
        guarded.let_in("second")
        guarded.reload()
        await eventually(lambda: "lost" in told)
        guarded.user_file.write_text("u:second\n")
        await eventually(lambda: "back" in told, 20)
        await client.flush()


async def test_a_new_authority_counts_at_the_next_connection(guarded: Guarded) -> None:
    async with connecting(guarded.url, guarded.access) as (client, told):
        await eventually(lambda: client.is_connected)
        guarded.authority = Authority()
        guarded.let_in("first")
        guarded.authority.issue(guarded.ours.ca.parent)
        await guarded.server.restart()
        await eventually(lambda: "back" in told, 20)
        await client.flush()


async def test_a_password_is_not_sent_in_clear_where_tls_was_asked_for(tmp_path: Path) -> None:
    """Someone between us and the server says that there is no TLS."""
    received, asked = bytearray(), 0

    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        info = {"server_id": "x", "version": "2.15.1", "max_payload": 1 << 20, "auth_required": True}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        received.extend(await reader.read())
        writer.close()

    user = tmp_path / "user"
    user.write_text("u:secret\n")
    liar = await asyncio.start_server(no_tls, "127.0.0.1")
    url = f"tls://127.0.0.1:{liar.sockets[0].getsockname()[1]}"
    async with liar, connecting(url, Access.by_files([url], user, TlsFiles())) as (client, _):
        await eventually(lambda: asked > 1)
        assert not client.is_connected
    assert not received


async def test_what_a_user_may_not_do_ends_no_connection(tmp_path: Path) -> None:
    config, user = tmp_path / "nats.conf", tmp_path / "user"
    config.write_text("authorization { users: [{user: u, password: p, permissions: {subscribe: [a]}}] }")
    user.write_text("u:p\n")
    async with NatsServer(tmp_path, arguments=["-c", config]) as server:
        access = Access.by_files([server.url], user, TlsFiles())
        async with connecting(server.url, access) as (client, told):
            await eventually(lambda: client.is_connected)
            await client.subscribe(subjects.HELLO)
            await client.flush()
            await client.flush()
            assert (client.is_connected, told) == (True, ["connected"])
