"""gRPC channels that connect directly. Everything Heliograph calls is in the cluster or on this node."""

from collections.abc import Sequence
from typing import Any

import grpc

_DIRECT = ("grpc.enable_http_proxy", 0)
"""Ignore `http_proxy`, `https_proxy` and `grpc_proxy`, which a pod may have for other programs."""


def direct_channel(
    target: str, options: Sequence[tuple[str, Any]] = (), credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.Channel:
    """A channel without a proxy; TLS with `credentials`. The only place that makes channels."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=[*options, _DIRECT])  # noqa: TID251 - the one place
    return grpc.aio.secure_channel(target, credentials, options=[*options, _DIRECT])  # noqa: TID251
