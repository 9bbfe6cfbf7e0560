"""`host:port`, IPv6 in brackets, an empty host for all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_shared.address import Address, InvalidAddress

hosts = st.sampled_from(["", "node-1.cluster.local"]) | st.ip_addresses().map(str)


@given(hosts, st.integers(0, 65535))
def test_an_address_is_written_as_it_is_read(host: str, port: int) -> None:
    address = Address(host, port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":5000", "", 5000),
        ("[::]:5000", "::", 5000),
        (" node:80 ", "node", 80),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("127.0.0.1:0", "127.0.0.1", 0),
    ],
)
def test_what_is_read(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5000",
        "node",
        "node:",
        "node:http",
        "node:-1",
        "node:65536",
        "node:٣",
        "node:" + "9" * 5000,
        "::1:5000",
        "[::1]",
        "[::1]5000",
        "[node]:80",
        "http://node:80",
        "me@node:80",
        "a b:80",
        "node:80/path",
        "[[::1]]:80",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        Address.parse(text)
    assert len(str(caught.value)) < 200


@given(st.text(max_size=30) | st.text("[]:.%1f", max_size=12))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except InvalidAddress:
        return
    assert Address.parse(str(address)) == address
