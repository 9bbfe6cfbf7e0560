"""What a request asks for, from its path parameters and query; the latest 4,096 answers are remembered."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar
from urllib.parse import parse_qs

from starlette.requests import Request

from heliograph_registry.mirror.domain.target import (
    Blob,
    InvalidTarget,
    ManifestByDigest,
    ManifestByTag,
    Target,
    blob_target,
    manifest_target,
    parse_target,
)

_REMEMBERED = 4096
_MOST_REMEMBERED_BYTES = 1024  # of one path and query: clients may send ever new ones

T = TypeVar("T")


def manifest_of(request: Request) -> ManifestByTag | ManifestByDigest:
    """Raises `InvalidTarget`."""
    parameters = request.path_params
    target = _manifest(parameters["name"], parameters["reference"], request.scope["query_string"])
    if isinstance(target, InvalidTarget):
        raise target
    return target


def blob_of(request: Request) -> Blob:
    """Raises `InvalidTarget`."""
    parameters = request.path_params
    target = _blob(parameters["name"], parameters["digest"], request.scope["query_string"])
    if isinstance(target, InvalidTarget):
        raise target
    return target


def target_of(path: str, query: bytes) -> Target | InvalidTarget:
    """Of a request that no route answers, such as one that was refused before."""
    return _parsed(path, query)


def _remembering(parse: Callable[..., T]) -> Callable[..., T]:
    """Remember what `parse` returns for short arguments."""
    remembered = lru_cache(_REMEMBERED)(parse)

    def parsed(*arguments: str | bytes) -> T:
        usual = sum(map(len, arguments)) <= _MOST_REMEMBERED_BYTES
        return remembered(*arguments) if usual else parse(*arguments)

    return parsed


def _or_error(parse: Callable[[str | None], T], query: bytes) -> T | InvalidTarget:
    """The error is returned, so that it is remembered as well."""
    try:
        return parse(_namespace(query))
    except InvalidTarget as error:
        return error.with_traceback(None)


def _namespace(query: bytes) -> str | None:
    """The `ns` parameter, in which containerd names the registry. Raises `InvalidTarget`."""
    if not query:
        return None
    try:
        parameters = parse_qs(query.decode("latin-1"), max_num_fields=8, keep_blank_values=True)
    except ValueError as error:
        raise InvalidTarget(400, "NAME_INVALID", "the query is not usable") from error
    return parameters.get("ns", [None])[0]


@_remembering
def _manifest(name: str, reference: str, query: bytes) -> ManifestByTag | ManifestByDigest | InvalidTarget:
    return _or_error(lambda namespace: manifest_target(name, reference, namespace), query)


@_remembering
def _blob(name: str, digest: str, query: bytes) -> Blob | InvalidTarget:
    return _or_error(lambda namespace: blob_target(name, digest, namespace), query)


@_remembering
def _parsed(path: str, query: bytes) -> Target | InvalidTarget:
    return _or_error(lambda namespace: parse_target(path, namespace), query)
