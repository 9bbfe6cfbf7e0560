"""Settings: environment variables `HELIOGRAPH_*`; each is also a flag of the console script, which wins."""

import re
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from heliograph_shared.address import Address, InvalidAddress
from heliograph_shared.platforms import Platform, parse_platform, this_platform

PREFIX = "HELIOGRAPH_"

_password = re.compile(r"(//)[^/\s@]*@")
# An escape, a class, a quantifier or any other character of a regular expression.
_pieces = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d*,\d*\}|.", re.DOTALL)


class ServiceSettings(BaseSettings):
    """Settings of every service."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        extra="ignore",
        frozen=True,
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="minimum severity of log lines"
    )


def _listed(split: Callable[[str], list[str]]) -> Callable[[object], object]:
    def parse(value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part for part in map(str.strip, split(value)) if part)

    return parse


def _at_commas(text: str) -> list[str]:
    return text.split(",")


def _between_expressions(text: str) -> list[str]:
    """Split at commas, except escaped ones and those within a class, a quantifier or a group."""
    parts, depth = [""], 0
    for piece in _pieces.findall(text):
        depth = max(0, depth + (piece == "(") - (piece == ")"))
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _reachable(texts: tuple[str, ...]) -> tuple[str, ...]:
    addresses = []
    for text in texts:
        try:
            address = Address.parse(text)
        except InvalidAddress as error:
            raise ValueError(str(error)) from error
        if address.host in {"", "0.0.0.0", "::"} or len(address.host) > 253 or not address.port:  # noqa: S104 - refused
            raise ValueError(f"others cannot reach {text!r}: wanted a host and a port")
        addresses.append(str(address))
    return tuple(addresses)


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed(_at_commas))]
Addresses = Annotated[CommaList, AfterValidator(_reachable)]
"""Several `host:port` that others can connect to: neither a wildcard address nor port 0."""
PatternList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed(_between_expressions))]
"""Regular expressions, which may contain commas."""


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


OptionalFile = Annotated[Path | None, BeforeValidator(_none_if_empty)]
"""A file or directory; an empty value means none."""

NodeName = Annotated[
    str,
    Field(
        default_factory=socket.gethostname,
        min_length=1,
        max_length=253,
        description="this node's name",
    ),
]


def _platform(value: object) -> object:
    if not isinstance(value, str):
        return value
    return parse_platform(value) if value else this_platform()


PlatformName = Annotated[
    Platform,
    NoDecode,
    BeforeValidator(_platform),
    Field(
        default_factory=this_platform,
        description="this node's platform, os/architecture[/variant] such as linux/arm64; a tag is answered "
        "only if the cluster holds what the node needs of its image",
    ),
]


def _with_certificate(key: Path | None, info: ValidationInfo) -> Path | None:
    if (key is None) is not (info.data.get("tls_cert_file") is None):
        raise ValueError("a certificate and its key must be set together")
    return key


def _with_authority(verify: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - as pydantic calls it
    if verify and info.data.get("tls_ca_file") is None:
        raise ValueError("needs HELIOGRAPH_TLS_CA_FILE, to verify the certificates of callers")
    return verify


TlsCertFile = Annotated[
    OptionalFile, Field(default=None, description="certificate of this service, PEM; empty: none")
]
TlsKeyFile = Annotated[
    OptionalFile,
    AfterValidator(_with_certificate),
    Field(
        default=None, validate_default=True, description="private key of the certificate, PEM, not encrypted"
    ),
]
TlsCaFile = Annotated[
    OptionalFile,
    Field(default=None, description="CA bundle used to verify peers, PEM; empty: the system's"),
]
TlsVerifyClients = Annotated[
    bool,
    AfterValidator(_with_authority),
    Field(description="require a client certificate signed by a CA of the bundle (mutual TLS)"),
]
NatsUserFile = Annotated[
    OptionalFile,
    Field(
        default=None, description="file with one line user:password for NATS; empty: credentials of the URL"
    ),
]


def _are_nats_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        if parts.scheme not in {"nats", "tls", "ws", "wss"} or not parts.hostname or not has_usable_port(url):
            raise ValueError("wanted nats://host:port")
    return urls


def has_usable_port(url: str) -> bool:
    """True if the port of a URL or `host:port` is absent, or valid and not 0."""
    try:
        return urlsplit(url if "://" in url else f"//{url}").port != 0
    except ValueError:
        return False


def _is_http_url(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or not has_usable_port(url)):
        raise ValueError("wanted http[s]://host[:port]/path")
    return url


OptionalHttpUrl = Annotated[str, AfterValidator(_is_http_url)]
"""An HTTP or HTTPS URL; an empty value means none."""

NatsUrls = Annotated[
    CommaList,
    AfterValidator(_are_nats_urls),
    Field(
        default=("nats://127.0.0.1:4222",),
        min_length=1,
        description="the bus: URLs of NATS servers, separated by commas",
    ),
]
MirroredRegistries = Annotated[
    CommaList,
    Field(
        default=(), description="registries to mirror, host[:port] or URL, separated by commas; empty: all"
    ),
]
RegistryFilters = Annotated[
    PatternList,
    Field(
        default=(),
        description="images whose registry/repository:tag matches any of these regular expressions "
        "are not mirrored; capitals make no difference",
    ),
]

S = TypeVar("S", bound=BaseSettings)


def load(model: type[S], prog: str, argv: Sequence[str] | None = None) -> S:
    """Settings from flags, then the environment, then defaults.

    If some are invalid, prints a line for each and exits with 2.
    """
    arguments = _spelled_out(model, sys.argv[1:] if argv is None else argv)
    try:
        return model(_cli_parse_args=arguments, _cli_prog_name=prog)
    except ValidationError as error:
        _reject(prog, error)


def _reject(prog: str, error: ValidationError) -> NoReturn:
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        flag = name.replace("_", "-")
        wrong = problem["msg"].removeprefix("Value error, ")
        line = f"{prog}: {PREFIX}{name.upper()} (--{flag}): {wrong}, got {problem['input']!r}"
        # Logging is not set up yet, so print to standard error.
        print(_password.sub(r"\1***@", line), file=sys.stderr)  # noqa: T201
    sys.exit(2)


def _spelled_out(model: type[BaseSettings], argv: Sequence[str]) -> list[str]:
    """Replace `--flag=true` by `--flag` and `--flag false` by `--no-flag`, for switches."""
    switches = {
        f"--{name.replace('_', '-')}"
        for name, field in model.model_fields.items()
        if field.annotation is bool or bool in get_args(field.annotation)
    }
    spelled: list[str] = []
    for argument in argv:
        flag, _, value = argument.partition("=")
        if argument.lower() in {"true", "false"} and spelled and spelled[-1] in switches:
            flag, value = spelled.pop(), argument
        if flag in switches and value.lower() in {"true", "false"}:
            spelled.append(flag if value.lower() == "true" else f"--no-{flag[2:]}")
        else:
            spelled.append(argument)
    return spelled
