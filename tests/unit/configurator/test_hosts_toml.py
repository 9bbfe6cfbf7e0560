"""The content of the files, and that nothing of an existing file is lost or reordered."""

import tomllib
from contextlib import suppress
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from heliograph_configurator.domain.hosts_toml import BrokenHosts, new, parse, prepended
from heliograph_configurator.domain.mirror import CA_FILE, CLIENT_FILE, NO_TLS, MirrorHosts, MirrorTls

MIRROR = MirrorHosts(("http://127.0.0.1:5000", "http://[::1]:5000"), resolves_tags=True)
TABLES = ["http://127.0.0.1:5000", "http://[::1]:5000"]

keys = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | keys | st.lists(keys, max_size=3)
tables = st.dictionaries(keys, scalars | st.dictionaries(keys, scalars, max_size=2), max_size=4)
documents = st.builds(
    lambda root, hosts: {**root, **({"host": hosts} if hosts is not None else {})},
    st.dictionaries(keys.filter(lambda key: key != "host"), scalars | tables, max_size=4),
    st.none() | st.dictionaries(keys, tables, max_size=4),
)


def test_a_new_file_names_the_mirrors_in_order_and_the_server() -> None:
    document = parse(new(MIRROR, "https://quay.io", ()))
    capabilities = {"capabilities": ["pull", "resolve"]}
    assert document == {
        "server": "https://quay.io",
        "host": {"http://127.0.0.1:5000": capabilities, "http://[::1]:5000": capabilities},
    }
    assert list(document["host"]) == TABLES


IPV6 = [
    ("http://[::1]:5000", {}, "http://[::1]:5000/v2"),
    ("http://[fd00::10]", {"capabilities": ["pull"]}, "http://[fd00::10]/v2"),
    ("https://[fd00::10]/path", {"client": [["a.pem", "b.pem"]]}, "https://[fd00::10]/path/v2"),
    ("https://[fd00::10]/path/v2", {"header": {"X-Sign": ["a"]}}, "https://[fd00::10]/path"),
    ("https://[fd00::10]/path", {"override_path": True}, "https://fd00::10:443/path"),
]


@pytest.mark.parametrize(("url", "table", "for_1"), IPV6)
def test_an_ipv6_host_is_there_twice_and_read_as_one(url: str, table: dict[str, Any], for_1: str) -> None:
    """Once for containerd 1, whose headings have no brackets, once for those that need them."""
    existing = {"host": {"http://a.test": {}, url: table, "http://b.test": {}}}
    text = prepended(MirrorHosts(("http://m",), resolves_tags=True), existing)
    hosts = tomllib.loads(text.decode())["host"]
    assert list(hosts) == ["http://m", "http://a.test", for_1, url, "http://b.test"]
    assert hosts[url] == table
    assert hosts[for_1] == {"capabilities": ["pull", "resolve", "push"], **table}
    assert list(parse(text)["host"].items()) == [
        ("http://m", {"capabilities": ["pull", "resolve"]}),
        *existing["host"].items(),
    ]
    for line in text.decode().splitlines():
        if line.startswith("["):
            assert "[" not in line[1:], "containerd 1 rejects the file"
            assert not (line.startswith("[host.") and "::" in line), "Go 1.26 rejects the host"


def test_a_host_without_brackets_is_written_for_every_containerd_too() -> None:
    existing = parse(b'[host."http://fd00::10:5000"]\nca = "ca.pem"\n')
    document = parse(prepended(MirrorHosts(("http://m",), resolves_tags=True), existing))
    assert document["host"]["http://[fd00::10]:5000"] == {"ca": "ca.pem"}


@given(tables)
def test_all_that_an_ipv6_host_has_is_written(table: dict[str, Any]) -> None:
    mirror = MirrorHosts(("http://m",), resolves_tags=True)
    text = prepended(mirror, {"host": {"http://[::1]:5000": table}})
    assert parse(text)["host"]["http://[::1]:5000"] == table
    twin = dict(tomllib.loads(text.decode())["host"]["http://[::1]:5000/v2"])
    if "capabilities" not in table:
        del twin["capabilities"]
    assert twin == {key: value for key, value in table.items() if value != {}}


def test_without_a_server_only_hosts_are_written() -> None:
    assert tomllib.loads(new(MIRROR, None, ()).decode()).keys() == {"host"}


def test_a_mirror_that_resolves_no_tags_gets_only_the_pull_capability() -> None:
    document = tomllib.loads(new(MirrorHosts(("http://m",), resolves_tags=False), None, ()).decode())
    assert document["host"] == {"http://m": {"capabilities": ["pull"]}}


def test_credentials_are_for_the_targets_only() -> None:
    mirror = MirrorHosts(
        ("https://m.test:5000", "http://127.0.0.1:5000"),
        resolves_tags=True,
        additional=("https://cache.test", "https://m.test:5000"),
        dial_timeout="200ms",
        authorization="Basic eDp5",
        tls=MirrorTls(b"ca", b"client"),
    )
    plain = {"capabilities": ["pull", "resolve"], "dial_timeout": "200ms"}
    header = {"header": {"Authorization": "Basic eDp5"}}
    assert list(mirror.tables().items()) == [
        ("https://m.test:5000", {**plain, "ca": CA_FILE, "client": CLIENT_FILE, **header}),
        ("http://127.0.0.1:5000", {**plain, **header}),
        ("https://cache.test", plain),
    ]
    assert "eDp5" not in repr(mirror)


def test_tls_files_are_needed_for_https_only() -> None:
    tls = MirrorTls(b"ca", b"client")
    assert MirrorHosts(("http://m",), resolves_tags=True, tls=tls).tls_files == NO_TLS
    assert MirrorHosts(("http://m", "https://n"), resolves_tags=True, tls=tls).tls_files == tls


def test_an_additional_mirror_that_is_named_already_keeps_its_certificates() -> None:
    existing = parse(
        b'[host."https://a.test"]\n[host."https://cache.test"]\nca = "cache.crt"\ncapabilities = ["pull"]\n'
    )
    mirror = MirrorHosts(("http://m",), resolves_tags=True, additional=("https://cache.test",))
    document = tomllib.loads(prepended(mirror, existing).decode())
    assert list(document["host"]) == ["http://m", "https://cache.test", "https://a.test"]
    assert document["host"]["https://cache.test"] == {"ca": "cache.crt", "capabilities": ["pull", "resolve"]}


def test_existing_certificates_are_named_for_the_server() -> None:
    files = ("a.crt", "b.crt", "c.cert", "c.key", "both.cert", "lone.key")
    document = tomllib.loads(new(MIRROR, "https://quay.io", files).decode())
    assert document["ca"] == ["a.crt", "b.crt"]
    assert document["client"] == [["c.cert", "c.key"], "both.cert"]


@given(documents)
def test_everything_existing_follows_the_mirror_in_its_order(
    existing: dict[str, Any],
) -> None:
    text = prepended(MIRROR, parse(tomli_w.dumps(existing).encode()))
    document = parse(text)

    hosts = list(document["host"].items())
    theirs = existing.pop("host", {})
    assert hosts[:2] == list(MIRROR.tables().items())
    # tomli_w writes plain values before tables, so only the order of tables can be compared.
    assert dict(hosts[2:]) == theirs
    assert [name for name, _ in hosts[2:]] == list(theirs)
    del document["host"]
    assert document == existing


def test_an_existing_server_stays() -> None:
    text = prepended(MIRROR, parse(b'server = "https://proxy.test"\nca = "proxy.crt"\n'))
    document = tomllib.loads(text.decode())
    assert (document["server"], document["ca"]) == ("https://proxy.test", "proxy.crt")


def test_an_existing_table_of_a_target_is_replaced() -> None:
    existing = parse(
        b'[host."https://a.test"]\n[host."http://[::1]:5000"]\nskip_verify = true\n[host."https://b.test"]\n'
    )
    document = parse(prepended(MIRROR, existing))
    assert list(document["host"]) == [*TABLES, "https://a.test", "https://b.test"]
    assert "skip_verify" not in document["host"]["http://[::1]:5000"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"server = \n", 1),
        (b'server = "x"\n\n[host."y"]\ncapabilities = [\n', 5),
        (b'[host."x"]\n[host."x"]\n', 2),
        (b'server = "x"\n# \xff\n', 2),
        (b"host = 1\n", 0),
        (b"[host]\nx = 1\n", 0),
        (b"x = " + b"[" * 5000, 1),
        (b"x = " + b"9" * 5000, 1),
    ],
)
def test_a_broken_file_is_refused_with_its_line(content: bytes, line: int) -> None:
    with pytest.raises(BrokenHosts) as caught:
        parse(content)
    assert caught.value.line == line
    assert 0 < len(caught.value.reason) <= 300


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_parse_or_are_broken(content: bytes) -> None:
    with suppress(BrokenHosts):
        tomllib.loads(prepended(MIRROR, parse(content)).decode())
