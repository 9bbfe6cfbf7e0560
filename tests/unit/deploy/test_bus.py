"""The deployed bus configuration, run with real servers: a cluster of three that requires a password."""

import asyncio
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from heliograph_shared import subjects
from tests.support.nats import BINARY, NatsServer
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tests.unit.deploy.manifests import MIXES, default, mixed, of_kind, pods
from tests.unit.deploy.mounted import bus_config, bus_user

ROLES = ("indexer", "router", "reader")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA and a certificate it signed for the bus, with the file names of Kubernetes TLS Secrets."""
    folder = tmp_path_factory.mktemp("tls")
    names = "subjectAltName=DNS:heliograph-nats,DNS:*.heliograph-nats-routes,IP:127.0.0.1"
    for command in (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
        " -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.crt",
        f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bus -addext {names}"
        " -addext basicConstraints=critical,CA:FALSE -CA ca.crt -CAkey ca.key -keyout tls.key -out tls.crt",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


@asynccontextmanager
async def cluster(
    folder: Path, mix: tuple[str, ...] = ("default",), certificates: Path | None = None
) -> AsyncIterator[list[NatsServer]]:
    """Three servers configured as deployed, but on local ports and with routes by address."""
    config = bus_config(mixed(*mix), folder)
    if certificates:
        tls = config / "tls.conf"
        tls.write_text(tls.read_text().replace("/etc/heliograph/tls", str(certificates)))
    ports = [free_port() for _ in range(3)]
    routes = config / "users" / "routes.conf"
    text = routes.read_text()
    for number, port in enumerate(ports):
        text = text.replace(f"heliograph-nats-{number}.heliograph-nats-routes:6222", f"127.0.0.1:{port}")
    routes.write_text(text)
    nats_conf = (config / "nats.conf").read_text()
    nats_conf = re.sub(r"(?m)^(server_name|http_port|pid_file):.*$", "", nats_conf)
    async with AsyncExitStack() as stack:
        servers = []
        for port in ports:
            own = config / f"{port}.conf"
            own.write_text(nats_conf.replace("port: 6222", f"listen: 127.0.0.1:{port}"))
            servers.append(NatsServer(folder, arguments=["-c", own]))
            await stack.enter_async_context(servers[-1])
        yield servers


async def connected(url: str, user: str, tls: ssl.SSLContext | None = None) -> Client:
    client = Client()
    try:
        await client.connect(
            url.replace("//", f"//{user}@" if user else "//"),
            allow_reconnect=False,
            error_cb=_quiet,
            tls=tls,
        )
    except nats.errors.Error:
        await client.close()
        raise
    return client


def with_certificate(certificates: Path) -> ssl.SSLContext:
    """The TLS context of a client that has a certificate."""
    context = ssl.create_default_context(cafile=certificates / "ca.crt")
    context.load_cert_chain(certificates / "tls.crt", certificates / "tls.key")
    return context


async def _quiet(_: Exception) -> None:
    """Do not report errors that a test causes on purpose."""


@pytest.mark.parametrize("mix", [("default",), ("default", "tls")], ids="+".join)
async def test_a_message_to_one_server_reaches_subscribers_of_all(
    mix: tuple[str, ...], tmp_path: Path, certificates: Path
) -> None:
    tls = with_certificate(certificates) if "tls" in mix else None
    async with cluster(tmp_path, mix, certificates if tls else None) as servers:
        publisher = await connected(servers[0].url, bus_user(default(), "indexer"), tls)
        readers = [await connected(server.url, bus_user(default(), "reader"), tls) for server in servers]
        received: set[int] = set()
        for number, reader in enumerate(readers):

            async def note(_: object, number: int = number) -> None:
                received.add(number)

            await reader.subscribe(subjects.ALL_CONTENT, cb=note)
            await reader.flush()

        async def all_received() -> bool:
            await publisher.publish(subjects.content("n"), b"{}")
            await publisher.flush()
            return received == {0, 1, 2}

        try:
            await eventually(all_received, 30, lambda: f"only these received it: {received}")
        finally:
            await asyncio.gather(*(client.close() for client in (publisher, *readers)))


@pytest.mark.parametrize("user", ["", "indexer:wrong", "routes:public-routes", "nobody:public-indexer"])
async def test_a_client_needs_a_users_password(tmp_path: Path, user: str) -> None:
    own = bus_config(default(), tmp_path) / "one.conf"
    own.write_text('include "authorization.conf"\n')
    async with NatsServer(tmp_path, arguments=["-c", own]) as server:
        with pytest.raises(nats.errors.Error):
            await connected(server.url, user)
        await (await connected(server.url, bus_user(default(), "reader"))).close()


async def test_with_tls_a_client_needs_a_certificate(tmp_path: Path, certificates: Path) -> None:
    config = bus_config(mixed("default", "tls"), tmp_path)
    tls = config / "tls.conf"
    tls.write_text(tls.read_text().replace("/etc/heliograph/tls", str(certificates)))
    (config / "one.conf").write_text('include "authorization.conf"\ninclude "tls.conf"\n')
    user = bus_user(default(), "reader")
    trusting = ssl.create_default_context(cafile=certificates / "ca.crt")

    async with NatsServer(tmp_path, arguments=["-c", config / "one.conf"]) as server:
        assert await pong(server, user, with_certificate(certificates))
        assert not await pong(server, user, trusting)
        assert not await pong(server, user, None)


async def pong(server: NatsServer, user: str, tls: ssl.SSLContext | None) -> bool:
    """True if the server accepts the client. Without nats-py, which waits for ever on a closed connection."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    name, _, password = user.partition(":")
    try:
        async with asyncio.timeout(30):
            await reader.readline()
            if tls:
                await writer.start_tls(tls, server_hostname=server.host)
            login = json.dumps({"user": name, "pass": password, "verbose": False})
            writer.write(f"CONNECT {login}\r\nPING\r\n".encode())
            await writer.drain()
            return await reader.readline() == b"PONG\r\n"
    except OSError:  # ssl.SSLError is one
        return False
    finally:
        writer.close()


async def test_a_server_needs_the_servers_password_to_join(tmp_path: Path) -> None:
    async with cluster(tmp_path) as servers:
        wanted = (tmp_path / "users" / "routes.conf").read_text()
        (tmp_path / "users" / "wrong.conf").write_text(wanted.replace("public-routes", "guessed"))
        own = tmp_path / "intruder.conf"
        own.write_text('cluster { name: heliograph, listen: 127.0.0.1:-1, include "users/wrong.conf" }\n')
        async with NatsServer(tmp_path, arguments=["-c", own]) as intruder:
            refused = "Route Error 'Authorization Violation'"
            await eventually(lambda: refused in intruder.process.tail(), 30)
            publisher = Client()
            await publisher.connect(intruder.url, error_cb=_quiet)
            reader = await connected(servers[0].url, bus_user(default(), "reader"))
            subscription = await reader.subscribe(subjects.ALL_CONTENT)
            await reader.flush()
            await publisher.publish(subjects.content("n"), b"{}")
            await publisher.flush()
            await reader.flush()
            try:
                assert subscription.pending_msgs == 0
            finally:
                await asyncio.gather(publisher.close(), reader.close())


@pytest.mark.parametrize("mix", [mix for mix in MIXES if "external-nats" not in mix], ids="+".join)
def test_the_real_server_accepts_the_configuration(
    mix: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificates: Path
) -> None:
    config = bus_config(mixed(*mix), tmp_path) / "nats.conf"
    monkeypatch.setenv("POD_NAME", "heliograph-nats-0")
    if "tls" in mix:
        tls = tmp_path / "tls.conf"
        assert "/etc/heliograph/tls/tls.key" in tls.read_text()
        tls.write_text(tls.read_text().replace("/etc/heliograph/tls", str(certificates)))

    checked = subprocess.run([BINARY, "-t", "-c", config], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "jetstream" not in re.sub("#.*", "", config.read_text())


def test_there_is_a_route_to_each_server(tmp_path: Path) -> None:
    server = of_kind("StatefulSet", default())["heliograph-nats"]["spec"]
    routes = (bus_config(default(), tmp_path) / "users" / "routes.conf").read_text()

    named = re.findall(r"nats://routes:public-routes@(\S+):(\d+)", routes)
    names = [f"heliograph-nats-{number}.{server['serviceName']}" for number in range(server["replicas"])]
    assert named == [(name, "6222") for name in names]
    (port,) = of_kind("Service", default())[server["serviceName"]]["spec"]["ports"]
    assert port["port"] == 6222


@pytest.mark.parametrize("role", ROLES)
def test_a_service_and_the_server_read_the_same_password_file(tmp_path: Path, role: str) -> None:
    """Both read the same line, so that they cannot differ."""
    config = bus_config(default(), tmp_path)
    assert (config / "users" / role).read_text().strip() == bus_user(default(), role)
    assert bus_user(default(), role).startswith(f"{role}:")


def test_each_service_gets_only_its_own_password() -> None:
    given = {
        name: {
            volume["secret"]["secretName"].rpartition("-")[0]
            for volume in pod.get("volumes", [])
            if "secret" in volume
        }
        for name, pod in pods(default()).items()
    }
    assert given == {
        "heliograph-node": {"heliograph-nats-indexer"},
        "heliograph-router": {"heliograph-nats-router"},
        "heliograph-nats": set(),  # all of them, in one projected folder
    }
    (mount,) = [
        (container["name"], mount["mountPath"])
        for container in pods(default())["heliograph-node"]["containers"]
        for mount in container["volumeMounts"]
        if mount["name"] == "nats-user"
    ]
    assert mount == ("indexer", "/etc/heliograph/nats")
