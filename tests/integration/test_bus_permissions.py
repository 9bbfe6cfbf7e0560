"""The permissions of the deployed bus let Heliograph work, and others do less."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from heliograph_indexer.adapters.nats_probe import NatsProbe
from heliograph_shared import subjects
from heliograph_shared.bus_client import Access
from heliograph_shared.digest import digest_of
from heliograph_shared.tls import TlsFiles
from tests.integration.router_support import connect, living_node, router_process, serving_router
from tests.support.images import make_image, write_layout
from tests.support.nats import NatsServer
from tests.support.waiting import eventually
from tests.unit.deploy.manifests import default
from tests.unit.deploy.mounted import bus_config, bus_user
from tests.unit.indexer.program import NODE, Program

A, B = digest_of(b"a"), digest_of(b"b")
ONE_NODE = "node-1:node-1-secret"
SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text()
AT_ROUTERS = (subjects.ALL_CONTENT, subjects.ALL_NODES, f"{subjects.ROUTER_INBOX}.>")


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """The deployed bus, and the user of one node that `SECURITY.md` shows."""
    config = bus_config(default(), tmp_path) / "authorization.conf"
    (of_one_node,) = re.findall(r"```\n( *\{ user: node-1.*?)```", SECURITY, re.DOTALL)
    of_one_node = of_one_node.replace("$NODE_1_PASSWORD", f'"{ONE_NODE.partition(":")[2]}"')
    config.write_text(config.read_text().replace("users: [\n", f"users: [\n{of_one_node}"))
    async with NatsServer(tmp_path, arguments=["-c", config]) as server:
        yield server


def url(server: NatsServer, role: str) -> str:
    user = ONE_NODE if ONE_NODE.startswith(f"{role}:") else bus_user(default(), role)
    return f"nats://{user}@{server.host}:{server.port}"


async def heard(client: Client, subject: str) -> list[str]:
    """Subjects of messages that come in from now on."""
    subjects_heard: list[str] = []

    async def note(message) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        subjects_heard.append(message.subject)

    await client.subscribe(subject, cb=note)
    await client.flush()
    return subjects_heard


@pytest.mark.parametrize(("user", "name"), [("indexer", "n"), ("node-1", "node-1")])
async def test_heliograph_works_with_them(guarded: NatsServer, user: str, name: str) -> None:
    async with (
        serving_router(url(guarded, "router")) as router,
        living_node(url(guarded, user), name) as node,
        connect(url(guarded, "reader")) as reader,
    ):
        all_heard = await heard(reader, subjects.EVERYTHING)
        await node.change(add=[A])
        await node.change(add=[B], lost=True)  # only a snapshot tells of it
        await router.knows(A, name)
        await router.knows(B, name)
        await eventually(
            lambda: all_heard.count(subjects.content(name)) == 1, message=lambda: f"heard {all_heard}"
        )
        assert node.asked


async def test_the_real_programs_work_with_them(guarded: NatsServer, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", [1000])
    write_layout(image, tmp_path / "layout", "reg.test/team/app:v1")
    layout = {"CONTENT_STORE": "oci-layout", "CONTENT_PATH": str(tmp_path / "layout")}
    users = {role: str(tmp_path / "users" / role) for role in ("indexer", "router")}  # as Secrets hold them
    indexer = Program(tmp_path, guarded.url, **layout, NATS_USER_FILE=users["indexer"])
    started = router_process(tmp_path, guarded.url, HELIOGRAPH_NATS_USER_FILE=users["router"])
    async with indexer.process, started as router:
        await eventually(indexer.ready, 30)
        await router.start()  # too late for what the indexer told, so it has to ask
        for blob in image.blobs():
            await router.knows(blob.digest, NODE, within=30)
        another = make_image(tmp_path / "another", [500], seed=1)
        write_layout(another, tmp_path / "layout", "reg.test/team/other:v1")
        await router.knows(another.target.digest, NODE, within=30)
        await router.ready()
    assert "Violation" not in guarded.process.tail(1 << 20)


async def test_nobody_connects_without_a_password(guarded: NatsServer) -> None:
    client = Client()
    try:
        with pytest.raises(nats.errors.Error):
            await client.connect(guarded.url, allow_reconnect=False, error_cb=nothing)
    finally:
        await client.close()


async def nothing(_: Exception) -> None:
    pass


@pytest.mark.parametrize(
    ("role", "subject"),
    [
        ("reader", subjects.content("n")),
        ("reader", subjects.node("n")),
        ("reader", subjects.snapshot("n")),
        ("reader", subjects.HELLO),
        ("indexer", subjects.HELLO),
        ("indexer", subjects.snapshot("n")),
        ("indexer", f"{subjects.ROUTER_INBOX}.x.y"),
        ("reader", f"{subjects.ROUTER_INBOX}.x.y"),
        ("router", subjects.content("n")),
        ("node-1", subjects.content("n")),
        ("node-1", subjects.node("n")),
        ("node-1", subjects.HELLO),
        ("node-1", f"{subjects.ROUTER_INBOX}.x.y"),
        ("router", subjects.node("n")),
    ],
)
async def test_roles_may_say_no_more_than_theirs(guarded: NatsServer, role: str, subject: str) -> None:
    async with (
        connect(url(guarded, "indexer")) as node,
        connect(url(guarded, "router")) as router,
        connect(url(guarded, role)) as liar,
    ):
        at_router = [await heard(router, each) for each in AT_ROUTERS]
        at_node = [await heard(node, each) for each in (subjects.HELLO, subjects.snapshot("n"))]
        await liar.publish(subject, b"{}")
        await liar.flush()
        await asyncio.gather(node.flush(), router.flush())
        assert not any([*at_router, *at_node])


@pytest.mark.parametrize(
    ("role", "subject"),
    [
        ("indexer", subjects.ALL_CONTENT),
        ("indexer", f"{subjects.ROUTER_INBOX}.>"),
        ("indexer", "_INBOX.>"),
        ("reader", f"{subjects.ROUTER_INBOX}.>"),
        ("reader", ">"),
        ("router", "_INBOX.>"),
        ("node-1", subjects.snapshot("n")),
        ("node-1", f"{subjects.ROUTER_INBOX}.>"),
    ],
)
async def test_roles_hear_no_more_than_theirs(guarded: NatsServer, role: str, subject: str) -> None:
    async with connect(url(guarded, role)) as listener, connect(url(guarded, "router")) as router:
        overheard = await heard(listener, subject)
        async with connect(url(guarded, "indexer")) as node:
            await node.publish(subjects.content("n"), b"{}")
            await node.flush()
        await router.publish(f"{subjects.ROUTER_INBOX}.x.y", b"{}")
        await router.publish(subjects.snapshot("n"), b"{}")
        await router.flush()
        await listener.flush()
        assert overheard == []


async def test_an_indexer_may_ask_what_time_it_is(guarded: NatsServer, tmp_path: Path) -> None:
    users = Access.by_files([guarded.url], tmp_path / "users" / "indexer", TlsFiles(None, None, None))
    answer = await NatsProbe([guarded.url], users).ask()
    assert answer.reason == ""
    assert answer.ahead_s is not None
    assert abs(answer.ahead_s) < 30
