"""`docs/configuration.md`, on standard output: every setting of every service, from their models."""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.reference.registries import SERVICES
from heliograph_shared.address import Address
from heliograph_shared.settings import PREFIX

_HEAD = """\
# Configuration

*Made by `make docs` from the settings in the code.*

Every setting is an environment variable, and a flag of the service's command, which wins:
`HELIOGRAPH_NODE_NAME` is `--node-name` of `heliograph-indexer`. What does not fit is said at the start, in
one line each, and ends the process. Lists are separated by commas. An address without a host means all.
Secrets are read from files, and never from variables.

Traces are set up by the standard variables of OpenTelemetry, `OTEL_EXPORTER_OTLP_ENDPOINT` first of all:
nothing is exported without it.
"""
# Groups by the beginning of a name; what is in none of them is with the services that have it.
_GROUPS = {
    "The node": ("node_name", "zone", "state_path", "advertise", "registry_ready_url"),
    "containerd and its content": ("content_", "containerd_", "registry_config_path"),
    "Which images": ("mirrored_registries", "registry_filters"),
    "The bus": ("nats_",),
    "TLS and credentials": ("tls_", "basic_auth"),
    "Addresses to listen on": ("registry_listen", "router_listen", "admin_listen"),
    "Logs": ("log_",),
}
_COLUMNS = "| variable | of | type | default | what |\n|---|---|---|---|---|"
_PLAIN = {
    "bool": "`true` or `false`",
    "Path": "path",
    "str": "text",
    "float": "number",
    "int": "whole number",
}


def page() -> str:
    groups: dict[str, list[str]] = {name: [] for name in _GROUPS}
    for name, fields in settings().items():
        groups.setdefault(_group(name, fields), []).append(_row(name, fields))
    tables = [
        "\n".join(
            [f"## {group}\n", "| variable | of | type | default | what |", "|---|---|---|---|---|", *rows, ""]
        )
        for group, rows in groups.items()
        if rows
    ]
    return "\n".join([_HEAD, *tables])


def settings() -> dict[str, dict[str, FieldInfo]]:
    """Every setting by its name, and the services that have it."""
    found: dict[str, dict[str, FieldInfo]] = {}
    for service in SERVICES:
        model = import_module(f"heliograph_{service}.settings").Settings
        for name, field in model.model_fields.items():
            found.setdefault(name, {})[service] = field
    return found


def _group(name: str, fields: Mapping[str, FieldInfo]) -> str:
    for group, beginnings in _GROUPS.items():
        if name.startswith(beginnings):
            return group
    return " and ".join(fields).capitalize()


def _row(name: str, fields: Mapping[str, FieldInfo]) -> str:
    whose = "all" if len(fields) == len(SERVICES) else ", ".join(fields)
    cells = [
        f"`{PREFIX}{name.upper()}`<br>`--{name.replace('_', '-')}`",
        whose,
        _of_each({service: _kind(field) for service, field in fields.items()}),
        _of_each({service: _default(field) for service, field in fields.items()}),
        _of_each({service: field.description or "" for service, field in fields.items()}),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _of_each(texts: Mapping[str, str]) -> str:
    """Once, where it is the same for all."""
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "<br>".join(f"{service}: {text}" for service, text in texts.items())


def _kind(field: FieldInfo) -> str:
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    if annotation is Address:
        return "host:port"
    if get_origin(annotation) is tuple:
        return "list"
    choices = [choice for choice in get_args(annotation) or [annotation] if choice is not type(None)]
    named = _PLAIN.get(getattr(choices[0], "__name__", ""), "text")
    return ", ".join([named, *_bounds(field.metadata)])


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for bound in metadata:
        match bound:
            case Gt(gt=value):
                yield f"over {value:,}"
            case Ge(ge=value):
                yield f"from {value:,}"
            case Lt(lt=value):
                yield f"under {value:,}"
            case Le(le=value):
                yield f"at most {value:,}"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the host's name"
    value = field.default
    if value is PydanticUndefined:
        return "none, it has to be set"
    match value:
        case None | "" | ():
            return "empty"
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return f"`{','.join(map(str, value))}`"
        case Address(host="", port=port):
            return f"`:{port}`"
        case _:
            return f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
