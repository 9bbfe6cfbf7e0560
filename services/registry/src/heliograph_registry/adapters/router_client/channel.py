"""The gRPC channel to the routers: plain text, or TLS with files that may be replaced at run time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from heliograph_shared.reloading import Reloading
from heliograph_shared.rpc.credentials import Material, channel_credentials, channel_materials
from heliograph_shared.runtime import background
from heliograph_shared.tls import TlsFiles

_CHECK_EVERY_S = 1.0
_GRACE_S = 300.0  # longer than a call may wait

ChannelOptions = Sequence[tuple[str, Any]]
OnChannel = Callable[[grpc.aio.Channel], None]


@asynccontextmanager
async def open_channel(
    target: str, options: ChannelOptions, *, tls: TlsFiles | None, server_name: str, use: OnChannel
) -> AsyncIterator[None]:
    """Pass `use` a channel that connects at once, and a new one whenever the TLS files have changed.

    `server_name` is the name that the routers' certificates must have, the host of `target` if empty. Raises
    `StartupError`.
    """
    if tls is None:
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            _begin(channel, use)
            yield
        return
    named = [("grpc.ssl_target_name_override", server_name)] if server_name else []
    channels = _Channels(target, [*options, *named], channel_materials(tls), use)
    try:
        async with background(channels.follow()):
            yield
    finally:
        await channels.close()


class _Channels:
    """The channel in use, and its predecessors until their calls end: a channel cannot change credentials."""

    def __init__(
        self, target: str, options: ChannelOptions, materials: Reloading[Material], use: OnChannel
    ) -> None:
        self._target, self._options, self._materials, self._use = target, options, materials, use
        self._material = materials.current()
        self._channel = self._open()
        self._closing: set[asyncio.Task[None]] = set()

    async def follow(self) -> None:
        """Open a new channel whenever the files have changed, until it is cancelled."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            if (latest := self._materials.current()) is not self._material:
                self._material, before = latest, self._channel
                self._channel = self._open()
                closing = asyncio.create_task(before.close(_GRACE_S))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for closing in self._closing:
            closing.cancel()
        await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        credentials = channel_credentials(self._material)
        channel = grpc.aio.secure_channel(self._target, credentials, options=self._options)
        _begin(channel, self._use)
        return channel


def _begin(channel: grpc.aio.Channel, use: OnChannel) -> None:
    channel.get_state(try_to_connect=True)  # connect now rather than at the first pull
    use(channel)
