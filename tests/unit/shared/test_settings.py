"""Settings: a flag, else the environment, else the default; what does not fit ends with 2 and a line."""

import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from heliograph_shared.address import Address, ListenAddress
from heliograph_shared.settings import (
    CommaList,
    MirroredRegistries,
    NodeName,
    OptionalHttpUrl,
    RegistryFilters,
    ServiceSettings,
    TlsCertFile,
    TlsKeyFile,
    load,
)


class Settings(ServiceSettings):
    node_name: NodeName
    names: CommaList = Field(("a", "b"), description="some names")
    mirrored_registries: MirroredRegistries
    registry_filters: RegistryFilters
    heartbeat_s: float = Field(10, gt=0)
    attempts: int = 3
    resolve_tags: bool = True
    prepend_existing: bool = False
    listen: ListenAddress = Address("", 9090)
    ready_url: OptionalHttpUrl = ""
    tls_cert_file: TlsCertFile
    tls_key_file: TlsKeyFile


def loaded(*argv: str) -> Settings:
    return load(Settings, "heliograph-test", argv)


def test_defaults() -> None:
    settings = loaded()
    assert settings.node_name == socket.gethostname()
    assert (settings.names, settings.mirrored_registries, settings.registry_filters) == (("a", "b"), (), ())
    assert (settings.log_level, settings.listen) == ("info", Address("", 9090))


def test_the_environment_wins_over_defaults_and_a_flag_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_NODE_NAME", "from-environment")
    monkeypatch.setenv("HELIOGRAPH_HEARTBEAT_S", "1.5")
    monkeypatch.setenv("HELIOGRAPH_NAMES", "x, y ,,z")
    monkeypatch.setenv("HELIOGRAPH_LISTEN", "[::1]:80")
    monkeypatch.setenv("NODE_NAME", "not ours")
    settings = loaded("--node-name=from-flag", "--attempts", "5")
    assert (settings.node_name, settings.attempts) == ("from-flag", 5)
    assert (settings.heartbeat_s, settings.names) == (1.5, ("x", "y", "z"))
    assert settings.listen == Address("::1", 80)


def test_an_unknown_variable_is_not_ours_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_ROUTER_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("HELIOGRAPH_NAMES", "")
    assert loaded().names == ()


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        (["--names=x"], ("x",)),
        (["--names", "x,y"], ("x", "y")),
        (["--names=x", "--names=y,z"], ("x", "y", "z")),
        (["--names="], ()),
        (["--names=[1,2]"], ("[1", "2]")),
        (['--names="x",{y}'], ('"x"', "{y}")),
    ],
)
def test_lists_are_separated_by_commas_and_nothing_else(argv: list[str], names: tuple[str, ...]) -> None:
    assert loaded(*argv).names == names


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("a,b", ("a", "b")),
        (r"^docker\.io/, :latest$", (r"^docker\.io/", ":latest$")),
        ("a{1,3},b", ("a{1,3}", "b")),
        ("a{,3}b{2,},c", ("a{,3}b{2,}", "c")),
        ("[a,b],c", ("[a,b]", "c")),
        ("(a,b),c", ("(a,b)", "c")),
        ("(a,[bc]),d", ("(a,[bc])", "d")),
        ("(a[,](b,c){1,2},d),e", ("(a[,](b,c){1,2},d)", "e")),
        ("[(,],b", ("[(,]", "b")),
        ("[],x],b", ("[],x]", "b")),
        ("[^],x],b", ("[^],x]", "b")),
        (r"[\],x],b", (r"[\],x]", "b")),
        (r"a\(,b\)", (r"a\(", r"b\)")),
        (r"a\[,b]", (r"a\[", "b]")),
        ("a),b", ("a)", "b")),
        ("a{,b}", ("a{", "b}")),
        ("(a,b", ("(a,b",)),
        ("[a,b", ("[a", "b")),
        (",,", ()),
    ],
)
def test_a_comma_within_an_expression_is_a_part_of_it(text: str, patterns: tuple[str, ...]) -> None:
    assert loaded(f"--registry-filters={text}").registry_filters == patterns


classes = st.text("a,]^(){}[", min_size=1, max_size=4).map(lambda body: f"[{re.escape(body)}]")
atoms = st.sampled_from(["a", r"\.", r"\,", r"\(", r"\[", "b{1,2}", "c{,3}", "^x", "y$"]) | classes
expressions = st.recursive(
    st.lists(atoms, min_size=1, max_size=3).map("".join),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({','.join(parts)})"),
    max_leaves=6,
)


@given(st.lists(expressions, max_size=4))
def test_joined_expressions_come_apart_again(patterns: list[str]) -> None:
    for pattern in patterns:
        re.compile(pattern)
    assert loaded(f"--registry-filters={','.join(patterns)}").registry_filters == tuple(patterns)


@pytest.mark.parametrize(
    ("argv", "resolve", "prepend"),
    [
        ([], True, False),
        (["--no-resolve-tags", "--prepend-existing"], False, True),
        (["--resolve-tags=false", "--prepend-existing=true"], False, True),
        (["--resolve-tags", "false", "--prepend-existing", "True"], False, True),
        (["--resolve-tags=True", "--no-prepend-existing"], True, False),
    ],
)
def test_switches(argv: list[str], resolve: bool, prepend: bool) -> None:  # noqa: FBT001
    settings = loaded(*argv)
    assert (settings.resolve_tags, settings.prepend_existing) == (resolve, prepend)


@pytest.mark.parametrize("word", ["false", "0", "no", "off", "FALSE"])
def test_switches_in_the_environment(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_RESOLVE_TAGS", word)
    assert loaded().resolve_tags is False


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEARTBEAT_S", "0"),
        ("HEARTBEAT_S", "soon"),
        ("ATTEMPTS", "1.5"),
        ("NODE_NAME", ""),
        ("NODE_NAME", "x" * 254),
        ("LISTEN", "5000"),
        ("LOG_LEVEL", "loud"),
        ("RESOLVE_TAGS", "perhaps"),
        ("READY_URL", "127.0.0.1:9090/readyz"),
        ("READY_URL", "ftp://127.0.0.1/readyz"),
        ("READY_URL", "http://:9090/readyz"),
        ("READY_URL", "http://127.0.0.1:0/readyz"),
        ("READY_URL", "http://127.0.0.1:99999/readyz"),
    ],
)
def test_a_bad_value_ends_with_two_and_a_line_that_names_it(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"HELIOGRAPH_{variable}", value)
    with pytest.raises(SystemExit) as stopped:
        loaded()
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    flag = variable.lower().replace("_", "-")
    assert line.startswith(f"heliograph-test: HELIOGRAPH_{variable} (--{flag}): ")
    assert line.endswith(f", got {value!r}")
    assert printed.out == ""


def test_every_bad_value_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        loaded("--attempts=x", "--listen=y")
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_url_may_be_empty_or_http() -> None:
    assert loaded("--ready-url=").ready_url == ""
    assert loaded("--ready-url=https://[::1]:9090/readyz").ready_url == "https://[::1]:9090/readyz"


@pytest.mark.parametrize("argv", [["--tls-cert-file=/a.pem"], ["--tls-key-file=/a.key"]])
def test_a_certificate_without_its_key_is_refused(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        loaded(*argv)
    assert stopped.value.code == 2
    assert "HELIOGRAPH_TLS_KEY_FILE" in capsys.readouterr().err


def test_an_empty_file_name_is_none() -> None:
    settings = loaded("--tls-cert-file=", "--tls-key-file=")
    assert (settings.tls_cert_file, settings.tls_key_file) == (None, None)


def test_a_password_in_a_bad_url_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        loaded("--listen=nats://me:secret@bus:4222")
    line = capsys.readouterr().err
    assert "secret" not in line
    assert "bus:4222" in line


@pytest.mark.parametrize("argv", [["--nope"], ["--attempts"], ["word"], ["--resolve-tags=perhaps"]])
def test_a_flag_that_is_not_there_ends_with_two(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        loaded(*argv)
    assert stopped.value.code == 2
    assert "usage: heliograph-test" in capsys.readouterr().err


def test_help_lists_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        loaded("--help")
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in printed
