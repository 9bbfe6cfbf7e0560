"""What each containerd asks by a `hosts.toml`; tests/e2e/test_hosts_schema.py tries the same on real ones."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_configurator.domain import go_syntax, kept_hosts
from heliograph_configurator.domain.containerd_reading import NO_HOST, Series, dropped_by, read
from heliograph_configurator.domain.go_syntax import GoUrl, NotGo
from heliograph_configurator.domain.headings import headings
from heliograph_configurator.domain.hosts_toml import BrokenHosts
from heliograph_configurator.domain.mirror import MirrorHosts
from tests.unit.configurator.hosts_files import (
    BAD,
    BAD_HOSTS,
    BAD_SERVERS,
    GOOD,
    generated,
    hosts_files,
    single_mistakes,
)

HOST = '[host."http://a.test"]\n'
MIRROR = MirrorHosts(("http://m.test",), resolves_tags=True)
ALL, SINCE_2, BEFORE_2_2 = set(Series), {Series.V2_0, Series.V2_2}, {Series.V1, Series.V2_0}


def ignoring(text: str) -> set[Series]:
    return set(dropped_by(text.replace("{}", "a.test").encode()))


@pytest.mark.parametrize("line", [*BAD, *BAD_SERVERS])
def test_one_wrong_value_anywhere_makes_every_containerd_ignore_the_file(line: str) -> None:
    assert ignoring(f"{line}\n{HOST}") == ALL
    if "server" not in line:
        assert ignoring(HOST + line) == ALL


@pytest.mark.parametrize("url", BAD_HOSTS)
def test_a_host_that_go_does_not_parse_makes_every_containerd_ignore_the_file(url: str) -> None:
    assert ignoring(f'{HOST}[host."{url}"]\n') == ALL


@pytest.mark.parametrize("line", GOOD)
def test_right_values_are_read(line: str) -> None:
    assert ignoring(HOST + line) == set()


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        (HOST + 'capabilities = ["referrers"]', BEFORE_2_2),
        (HOST + 'dial_timeout = "3"', SINCE_2),
        (HOST + "dial_timeout = 3", SINCE_2),
        (HOST + 'Capabilities = ["x"]', SINCE_2),
        (HOST + "x = 99999999999999999999", {Series.V1}),
        (HOST + "x = 1e400", {Series.V1}),
        ('[host."http://[::1]:5000"]', {Series.V1}),
        ('[host."http://::1:5000"]', {Series.V2_2}),
        ('server = "https://a.test"', {Series.V1}),
        ("", {Series.V1}),
        ('[HOST."http://a.test"]', {Series.V1}),
        ("host = 1", ALL),
        ("[[host]]", ALL),
        ('[host]\n"http://a.test" = 1', ALL),
    ],
)
def test_versions_differ(text: str, versions: set[Series]) -> None:
    assert ignoring(text) == versions


def test_a_file_without_hosts_is_told_from_a_mistake() -> None:
    assert dropped_by(b'server = "https://a.test"') == {Series.V1: NO_HOST}


@pytest.mark.parametrize(
    ("text", "since_2"),
    [
        ('[host."http://b"]\n[host."http://a"]', ["http://b/v2", "http://a/v2", ""]),
        ("server = \"c.test:1/x/../v2/\"\n[host.'http://b']", ["http://b/v2", "https://c.test:1/v2"]),
        ('[host."http://b/x"]\noverride_path = true', ["http://b/x", ""]),
        ('[host."http://b".header]\na = "1"\n[host."http://c"]', ["http://b/v2", "http://c/v2", ""]),
        ('[ "host" . "http://\\u0062" ]', ["http://b/v2", ""]),
        ('[host]\n"http://b".capabilities = ["pull"]', [""]),
        ('host = { "http://b" = {} }', [""]),
        ('x = """\n[host.b]\n"""\ny = [\n  [1],\n]\n[host."http://c"]', ["http://c/v2", ""]),
        ('server = "httpfoo"\n[host."http://b"]', ["http://b/v2", ""]),
    ],
)
def test_the_hosts_are_asked_in_the_order_of_their_headings(text: str, since_2: list[str]) -> None:
    for series in SINCE_2:
        assert [host.url for host in read(text.encode(), series).hosts] == since_2


def test_containerd_1_asks_hosts_without_a_heading_too_and_decodes_no_escapes() -> None:
    def asked(text: str) -> list[str]:
        return [host.url for host in read(text.encode(), Series.V1).hosts]

    assert asked('[host]\n"http://b".capabilities = ["pull"]') == ["http://b/v2", ""]
    assert asked('[host."http://c"]\n["\\u0068ost"."http://b"]') == ["http://c/v2", ""]
    assert asked('[host."http://a".header]\n[host."http://b"]\n[host."http://a"]') == [
        "http://b/v2",
        "http://a/v2",
        "",
    ]


def test_a_mirror_can_be_added_to_what_people_write() -> None:
    """And to nothing else: a file that every containerd ignores is left."""
    added = 0
    for text in [*single_mistakes(), *generated(60)]:
        try:
            kept_hosts.with_mirrors(MIRROR, text.replace("{}", "a.test").encode(), ())
        except BrokenHosts:
            assert ignoring(text) == ALL or "[host]\n" in text, text
        else:
            assert ignoring(text) != ALL
            added += 1
    assert added > 40


@given(hosts_files())
def test_the_same_hosts_are_asked_after_the_mirror(text: str) -> None:
    content = text.replace("{}", "a.test").encode()
    with suppress(BrokenHosts):
        written = kept_hosts.with_mirrors(MIRROR, content, ())
        for series in Series:
            before, after = read(content, series), read(written, series)
            if not before.dropped:
                assert after.hosts[0].url == "http://m.test/v2"
                assert after.hosts[1:] == before.hosts


def test_a_value_that_only_some_containerds_look_at_is_kept_as_it_is() -> None:
    """For containerd 1 `Ca` is no key; containerd 2 takes it for `ca` and ignores the file."""
    for base in ("", "/etc/docker/certs.d/a.test"):
        written = kept_hosts.with_mirrors(MIRROR, HOST.encode() + b"Ca = 1\n", (), base)
        assert set(dropped_by(written)) == SINCE_2


def test_certificates_that_some_containerd_uses_are_not_lost() -> None:
    content = b'server = "https://a.test"\n'
    assert kept_hosts.with_mirrors(MIRROR, content, ())
    with pytest.raises(BrokenHosts, match=r"1\.6 and 1\.7"):
        kept_hosts.with_mirrors(MIRROR, content, ("ca.crt",))
    assert kept_hosts.with_mirrors(MIRROR, HOST.encode(), ("ca.crt",))


@given(st.text(st.sampled_from("[]{}\"'=#.\n\\ ahost"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for series in Series:
        with suppress(ValueError):
            read(text.encode(), series)


def test_headings_are_told_from_strings_and_arrays() -> None:
    text = (
        "a = [\n[1],\n]\n[b . \"]\"] # [c]\nd = \"[e]\"\nf = '''\n[g]\n'''\n[[h.i]]\nj = { k = [1] }\n  [l]"
    )
    found = list(headings(text))
    assert [(one.text, one.of_array) for one in found] == [
        ('b . "]"', False),
        ("h.i", True),
        ("l", False),
    ]
    assert all(text[one.start :].startswith(one.text) for one in found)
    assert all(first.start < second.start for first, second in pairwise(found))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a.test", GoUrl("http", "a.test", "")),
        ("HTTP://u:p@a.test:/x?y#z", GoUrl("http", "a.test:", "/x")),
        ("http://[::1]:5000/v2", GoUrl("http", "[::1]:5000", "/v2")),
        ("http:a", GoUrl("http", "", "")),
        ("httpfoo/x", GoUrl("", "", "httpfoo/x")),
    ],
)
def test_urls_are_read_as_go_reads_them(text: str, url: GoUrl) -> None:
    assert go_syntax.url(text, strict_colons=True) == url


@pytest.mark.parametrize(
    "text",
    ["http://a b", "http://a:b", "http://a%20", "http://a/%zz", "http://a\x01", "http foo:1", "http://[::1"],
)
def test_what_go_refuses_is_refused(text: str) -> None:
    for strict in (True, False):
        with pytest.raises(NotGo):
            go_syntax.url(text, strict_colons=strict)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        *((text, True) for text in ("3s", "-1.5h", "0", "1µs", ".5s")),
        *((text, False) for text in ("", ".", "3", "1d", "1 s", "9999999999h")),
    ],
)
def test_durations_are_those_of_go(text: str, *, valid: bool) -> None:
    assert go_syntax.is_duration(text) is valid
