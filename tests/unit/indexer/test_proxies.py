"""Which addresses containerd reaches without its proxy, by the rules of Go."""

import asyncio
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_indexer.adapters.containerd_environment import read_proxies
from heliograph_indexer.domain.proxies import ProxySettings, examine_proxies
from heliograph_indexer.errors import EnvironmentUnreadable
from heliograph_shared.address import Address
from tests.support.process import Process

PROXY = {"HTTPS_PROXY": "http://proxy.test:3128"}


@pytest.mark.parametrize(
    ("no_proxy", "address", "excepted"),
    [
        ("", "10.0.0.1:5000", False),
        ("*", "10.0.0.1:5000", True),
        ("10.0.0.1", "10.0.0.1:5000", True),
        ("10.0.0.0/8", "10.0.0.1:5000", True),
        (" 10.1.0.0/16 , 10.0.0.0/16", "10.0.0.1:5000", True),
        ("10.0.0.1:5000", "10.0.0.1:5000", True),
        ("10.0.0.1:5001", "10.0.0.1:5000", False),
        ("fd00::/8", "[fd00::1]:5000", True),
        ("[fd00::1]:5000", "[fd00::1]:5000", True),
        ("node.test", "node.test:5000", True),
        ("test", "node.test:5000", True),
        (".test", "Node.Test:5000", True),
        ("*.test", "node.test:5000", True),
        (".node.test", "node.test:5000", False),
        ("de.test", "node.test:5000", False),
    ],
)
def test_exceptions_are_those_of_go(no_proxy: str, address: str, excepted: bool) -> None:  # noqa: FBT001
    settings = ProxySettings.of({**PROXY, "no_proxy": no_proxy})
    assert settings.excepts(Address.parse(address)) is excepted
    assert bool(list(examine_proxies(settings, [address]))) is not excepted


@pytest.mark.parametrize("address", ["127.0.0.1:5000", "[::1]:5000", "localhost:5000"])
def test_loopback_never_goes_through_a_proxy(address: str) -> None:
    assert not list(examine_proxies(ProxySettings.of(PROXY), [address]))


def test_without_a_proxy_there_is_nothing_to_say() -> None:
    assert not list(examine_proxies(ProxySettings.of({"HTTP_PROXY": "", "NO_PROXY": "x"}), ["10.0.0.1:5000"]))


@given(st.text(max_size=60), st.ip_addresses())
def test_any_text_is_a_list_of_exceptions(no_proxy: str, host: object) -> None:
    ProxySettings(("HTTP_PROXY",), no_proxy).excepts(Address(str(host), 5000))


@pytest.mark.processes
async def test_the_environment_of_who_listens_on_the_socket_is_read(tmp_path: Path) -> None:
    path = tmp_path / "containerd.sock"
    program = f"import socket, time; s = socket.socket(1); s.bind({str(path)!r}); s.listen(); time.sleep(60)"
    environment = {"https_proxy": "http://proxy.test:3128", "NO_PROXY": "10.0.0.0/8"}
    listener = Process("listener", [sys.executable, "-c", program], tmp_path / "log", environment=environment)
    listener.start()
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    settings = await read_proxies(path)
                    break
                except EnvironmentUnreadable:
                    await asyncio.sleep(0.05)
    finally:
        await listener.kill()
    assert "https_proxy" in settings.variables
    assert settings.no_proxy == "10.0.0.0/8"


async def test_a_socket_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnreadable):
        await read_proxies(tmp_path / "absent.sock")
