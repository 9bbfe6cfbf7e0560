"""What each containerd makes of `hosts.toml`: the traps that the configurator has to know, on the real thing.

One daemon of each version for all of them, since the files are read anew at every pull. What is refused on
purpose is at 127.0.0.2: nothing listens there, and no name has to be resolved.
"""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest
import pytest_asyncio

from tests.e2e.lab_support import REPOSITORY, TAG, Lab
from tests.support.authority import Authority
from tests.support.machines import absent
from tests.support.mirror import FakeMirror, MirrorRequest, running_mirror
from tests.support.ports import free_port

pytestmark = [
    pytest.mark.skipif(bool(absent()), reason=absent()),
    pytest.mark.asyncio(loop_scope="module"),
]

HERE, NOBODY = "127.0.0.1", "127.0.0.2"
HEAD_TAG = ("HEAD", f"/v2/{REPOSITORY}/manifests/{TAG}")


@pytest_asyncio.fixture(loop_scope="module")
async def mirror() -> AsyncIterator[FakeMirror]:
    async with running_mirror() as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def host(url: str, *lines: str) -> str:
    return "\n".join([f'[host."{url}"]', *lines, ""])


@asynccontextmanager
async def black_hole() -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """A URL that neither accepts nor refuses, its queue being full; the call makes it refuse."""
    port = free_port()
    with ExitStack() as sockets:
        sockets.enter_context(socket.create_server((HERE, port), backlog=0))
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((HERE, port))
        yield f"http://{HERE}:{port}", sockets.close


async def test_a_dial_timeout_is_used_by_2_and_ignored_before(lab: Lab) -> None:
    async with black_hole() as (url, refuse):
        lab.write(lab.registry, host(url, 'dial_timeout = "200ms"'))
        pull = asyncio.create_task(lab.pull())
        if not lab.modern:
            done, _ = await asyncio.wait([pull], timeout=2)
            assert not done, "it dials for 30 s"
            refuse()
        await pull


async def test_2_ignores_a_file_whose_dial_timeout_is_not_a_string(lab: Lab, mirror: FakeMirror) -> None:
    for value in ("200", '"200"', '"soon"'):
        mirror.forget()
        lab.write(lab.registry, host(mirror.url, f"dial_timeout = {value}"))
        await lab.pull()
        assert bool(mirror.asked) is not lab.modern, value


async def test_without_resolve_a_tag_is_not_asked_for(lab: Lab, mirror: FakeMirror) -> None:
    lab.write(lab.registry, host(mirror.url, 'capabilities = ["pull"]'))
    await lab.pull()
    assert mirror.asked
    assert HEAD_TAG not in {asked[:2] for asked in mirror.asked}


async def test_a_server_in_the_default_folder_is_used_for_all_registries(
    lab: Lab, mirror: FakeMirror
) -> None:
    lab.write("_default", f'server = "{lab.upstream.url}"\n' + host(mirror.url))
    await lab.pull(f"{NOBODY}:5000")
    assert mirror.asked[0][:2] == HEAD_TAG
    lab.write("_default", host(mirror.url))
    await lab.fail(f"{NOBODY}:5000")
    await lab.pull()


async def test_a_file_with_a_server_only_is_ignored_before_2(lab: Lab, mirror: FakeMirror) -> None:
    lab.write(f"{NOBODY}:5000", f'server = "{lab.upstream.url}"\n')
    if lab.modern:
        await lab.pull(f"{NOBODY}:5000")
    else:
        await lab.fail(f"{NOBODY}:5000")


async def test_the_first_folder_that_exists_is_used_alone(lab: Lab) -> None:
    folders = [f"{NOBODY}_5000_", f"{NOBODY}:5000", "_default"]
    async with running_mirror() as first, running_mirror() as second, running_mirror() as third:
        mirrors = [first, second, third]
        for folder, server in zip(folders, mirrors, strict=True):
            lab.write(folder, host(server.url))
        for number, folder in enumerate(folders):
            for server in mirrors:
                server.forget()
            await lab.fail(f"{NOBODY}:5000")
            assert [bool(server.asked) for server in mirrors] == [at == number for at in range(3)]
            shutil.rmtree(lab.node.certs_path / folder)


async def test_a_folder_named_without_the_port_is_not_used(lab: Lab, mirror: FakeMirror) -> None:
    lab.write(NOBODY, host(mirror.url))
    await lab.fail(f"{NOBODY}:5000")
    assert mirror.asked == []


async def test_an_empty_folder_is_used_instead_of_the_default(lab: Lab, mirror: FakeMirror) -> None:
    lab.write("_default", host(mirror.url))
    (lab.node.certs_path / lab.registry).mkdir()
    await lab.pull()
    assert mirror.asked == []


async def test_the_default_applies_to_registries_on_localhost_too(lab: Lab, mirror: FakeMirror) -> None:
    lab.write("_default", host(mirror.url))
    await lab.pull(f"localhost:{lab.upstream.port}")
    assert mirror.asked[0][2] == f"localhost:{lab.upstream.port}"


async def test_v2_is_added_to_a_path_unless_it_is_overridden(lab: Lab, mirror: FakeMirror) -> None:
    for line, path in (("", "/cache/v2/team"), ("override_path = true", "/cache/team")):
        mirror.forget()
        lab.write(lab.registry, host(f"{mirror.url}/cache", line))
        await lab.pull()
        assert all(asked[1].startswith(path) for asked in mirror.asked), mirror.asked


async def test_skip_verify_makes_containerd_try_tls_on_an_http_mirror(lab: Lab, mirror: FakeMirror) -> None:
    lab.write(lab.registry, host(mirror.url, "skip_verify = true"))
    await lab.pull()
    assert bool(mirror.tls_hellos) is (lab.node.release.series != "1.6")
    mirror.forget()
    lab.write(lab.registry, host(mirror.url))
    await lab.pull()
    assert (mirror.tls_hellos, bool(mirror.asked)) == (0, True)


async def test_headers_are_sent_with_every_request_and_credentials_to_no_other_name(lab: Lab) -> None:
    async with running_mirror("::1") as other:

        def elsewhere(asked: MirrorRequest) -> str:
            return f"307 There\r\nLocation: {other.url}{asked.path}"

        async with running_mirror(answer=elsewhere) as mirror:
            headers = (f'[host."{mirror.url}".header]', 'Authorization = "Basic eDp5"', 'X-Sign = ["a"]')
            lab.write(lab.registry, host(mirror.url, 'capabilities = ["pull", "resolve"]', *headers))
            await lab.pull()
    assert len(mirror.requests) >= 4
    for request in mirror.requests:
        assert (request.headers.get("authorization"), request.headers.get("x-sign")) == ("Basic eDp5", "a")
    assert other.requests
    for request in other.requests:
        assert (request.headers.get("authorization"), request.headers.get("x-sign")) == (None, "a")


async def test_a_file_with_one_broken_line_is_ignored(lab: Lab, mirror: FakeMirror) -> None:
    lab.write(lab.registry, host(mirror.url, "capabilities = ["))
    await lab.pull()
    assert mirror.asked == []
    lab.write(lab.registry, host(mirror.url, "unheard_of = 1"))
    await lab.pull()
    assert mirror.asked, "a key that it does not know is no fault"


async def test_a_file_with_an_ipv6_host_is_ignored_with_brackets_before_2_and_without_by_go_1_26(
    lab: Lab,
) -> None:
    async with running_mirror("::1") as mirror:
        port = mirror.url.rpartition(":")[2]
        lab.write(lab.registry, host(mirror.url))
        await lab.pull()
        assert bool(mirror.asked) is lab.modern
        mirror.forget()
        lab.write(lab.registry, host(f"http://::1:{port}"))
        await lab.pull()
        assert bool(mirror.asked) is (lab.node.release.series != "2.4")


async def test_a_mirror_that_asks_for_credentials_may_get_those_of_upstream(lab: Lab) -> None:
    async with running_mirror(answer=lambda _: '401 No\r\nWWW-Authenticate: Basic realm="x"') as mirror:
        lab.write(lab.registry, host(mirror.url))
        await lab.pull(credentials=("user", "secret"))
    assert "Basic dXNlcjpzZWNyZXQ=" in {request.headers.get("authorization") for request in mirror.requests}


async def test_missing_or_invalid_certificates_fail_the_pull(
    lab: Lab, mirror: FakeMirror, authority: Authority
) -> None:
    client, other = authority.sign("client"), authority.sign("other")
    lab.put("mixed.pem", client.certificate.read_bytes() + other.key.read_bytes())
    lab.put("garbage.pem", b"garbage")
    for line in (
        'ca = "gone.pem"',
        'ca = "garbage.pem"',
        'client = "gone.pem"',
        'client = "garbage.pem"',
        'client = "mixed.pem"',
    ):
        lab.write(lab.registry, host(mirror.url, line))
        await lab.fail()
    assert mirror.asked == []


async def test_one_file_may_hold_a_certificate_and_its_key(lab: Lab, authority: Authority) -> None:
    server, client = authority.sign("server"), authority.sign("client")
    lab.put("ca.pem", authority.certificate.read_bytes())
    lab.put("client.pem", client.certificate.read_bytes() + client.key.read_bytes())
    async with running_mirror(tls=authority.server(server, verify_clients=True)) as mirror:
        lab.write(lab.registry, host(mirror.url, 'ca = "ca.pem"', 'client = "client.pem"'))
        await lab.pull()
        assert mirror.asked
        assert all(request.certified for request in mirror.requests)
