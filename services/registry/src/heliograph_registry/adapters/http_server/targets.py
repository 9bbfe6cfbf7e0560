"""What a request asks for, from its path parameters and query. The latest 4,096 results are cached."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar
from urllib.parse import parse_qs

from starlette.requests import Request

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.target import (
    Blob,
    InvalidTarget,
    ManifestByDigest,
    ManifestByTag,
    Target,
    blob_target,
    manifest_target,
    parse_target,
    registry_before,
)

_MOST_CACHED = 4096
_MOST_CACHED_BYTES = 1024  # of one path and query; longer ones would let clients fill the memory

REGISTRY = "registry"
"""The path parameter of a component before `/v2/`."""

T = TypeVar("T")


def manifest_of(request: Request) -> ManifestByTag | ManifestByDigest:
    """Raises `InvalidTarget`."""
    parameters = request.path_params
    target = _manifest(
        parameters["name"],
        parameters["reference"],
        request.scope["query_string"],
        parameters.get(REGISTRY, ""),
    )
    if isinstance(target, InvalidTarget):
        raise target
    return target


def blob_of(request: Request) -> Blob:
    """Raises `InvalidTarget`."""
    parameters = request.path_params
    target = _blob(
        parameters["name"], parameters["digest"], request.scope["query_string"], parameters.get(REGISTRY, "")
    )
    if isinstance(target, InvalidTarget):
        raise target
    return target


def target_of(path: str, query: bytes) -> Target | InvalidTarget:
    """For a request that reached no route, for example because authentication failed."""
    return _parsed(path, query)


def _cached(parse: Callable[..., T]) -> Callable[..., T]:
    """Cache what `parse` returns for short arguments."""
    cached = lru_cache(_MOST_CACHED)(parse)

    def parsed(*arguments: str | bytes) -> T:
        short = sum(map(len, arguments)) <= _MOST_CACHED_BYTES
        return cached(*arguments) if short else parse(*arguments)

    return parsed


def _or_error(parse: Callable[[str | None], T], query: bytes, before: str = "") -> T | InvalidTarget:
    """What `parse` returns for the registry that `query` names, else the path's component `before` `/v2/`.

    An `InvalidTarget` is returned rather than raised, so that it can be cached.
    """
    try:
        namespace = _namespace(query)
        return parse(registry_before(before, namespace) if before else namespace)
    except InvalidTarget as error:
        return error.with_traceback(None)


def _namespace(query: bytes) -> str | None:
    """The `ns` parameter, by which containerd names the registry. Raises `InvalidTarget`."""
    if not query:
        return None
    try:
        parameters = parse_qs(query.decode("latin-1"), max_num_fields=8, keep_blank_values=True)
    except ValueError as error:
        raise InvalidTarget(400, "NAME_INVALID", "invalid query", Reason.INVALID) from error
    return parameters.get("ns", [None])[0]


@_cached
def _manifest(
    name: str, reference: str, query: bytes, before: str
) -> ManifestByTag | ManifestByDigest | InvalidTarget:
    return _or_error(lambda namespace: manifest_target(name, reference, namespace), query, before)


@_cached
def _blob(name: str, digest: str, query: bytes, before: str) -> Blob | InvalidTarget:
    return _or_error(lambda namespace: blob_target(name, digest, namespace), query, before)


@_cached
def _parsed(path: str, query: bytes) -> Target | InvalidTarget:
    return _or_error(lambda namespace: parse_target(path, namespace), query)
