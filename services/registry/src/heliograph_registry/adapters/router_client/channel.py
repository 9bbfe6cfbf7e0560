"""gRPC channels to router replicas: plain text, or TLS with files that may be replaced at run time."""

from collections.abc import Sequence
from typing import Any

import grpc

from heliograph_shared.reloading import Reloading
from heliograph_shared.rpc.channels import direct_channel
from heliograph_shared.rpc.credentials import Material, channel_credentials, channel_materials
from heliograph_shared.tls import TlsFiles

ChannelOptions = Sequence[tuple[str, Any]]


class ChannelFactory:
    """Opens channels with the latest files. A channel keeps its credentials, so it has to be replaced."""

    def __init__(self, options: ChannelOptions, *, tls: TlsFiles | None, server_name: str) -> None:
        """`server_name` is the name that certificates must have, the replica's address if empty.

        Raises `StartupError`.
        """
        named = [("grpc.ssl_target_name_override", server_name)] if tls and server_name else []
        self._options = [*options, *named]
        self._materials: Reloading[Material] | None = channel_materials(tls) if tls else None
        self._material = self._materials.current() if self._materials else None

    def renewed(self) -> bool:
        """True if the files have changed since the last call: then channels are to be replaced."""
        if self._materials is None or (latest := self._materials.current()) is self._material:
            return False
        self._material = latest
        return True

    def open(self, target: str) -> grpc.aio.Channel:
        """A channel that connects now rather than at the first pull."""
        credentials = channel_credentials(self._material) if self._material else None
        channel = direct_channel(target, self._options, credentials)
        channel.get_state(try_to_connect=True)
        return channel
