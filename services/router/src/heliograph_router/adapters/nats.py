"""The router's side of bus contract v1, over core NATS: subscribes to all nodes and asks them for snapshots.

Messages are handled in the order in which they arrive. So when a message that the router sent to itself comes
back, everything that arrived before it has been handled.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import nats.errors
import structlog
from nats.aio.subscription import Subscription
from pydantic import BaseModel

from heliograph_router.adapters import messages
from heliograph_router.adapters.inbound import Inbound, OnEvent
from heliograph_router.adapters.metrics import RouterMetrics
from heliograph_router.domain.assembly import Assembly, TooLarge
from heliograph_router.domain.cluster import NeedSnapshot
from heliograph_router.domain.events import ReceivedSnapshot
from heliograph_router.errors import MessageNotSent, SnapshotUnavailable
from heliograph_shared import bus, events, subjects, telemetry
from heliograph_shared.bus_client import NO_ACCESS, Access, Client, Message

log = structlog.get_logger()

_PENDING_BYTES = 32 << 20
_ECHO_TIMEOUT_S = 2.0
_MAX_SILENCE_S = 2.0
_PULL_TIMEOUT_S = 30.0
_NO_RESPONDERS = "503"

OnLinkEvent = Callable[[], None]


class NatsSubscriber:
    """Implements `Snapshots` and `BusLink`. `router` is this process's name among the routers.

    Nothing can be sent while it is not open or not connected.
    """

    def __init__(self, router: str, metrics: RouterMetrics) -> None:
        self._router, self._metrics = router, metrics
        self._source = f"/routers/{router}"
        self._client: Client | None = None
        self._echo_subject = ""
        self._echo: tuple[bytes, asyncio.Future[None]] | None = None

    @asynccontextmanager
    async def open(
        self,
        servers: Sequence[str],
        access: Access = NO_ACCESS,
        *,
        on_event: OnEvent,
        on_hello_sent: OnLinkEvent,
        on_link_lost: OnLinkEvent,
    ) -> AsyncIterator[None]:
        """Stay connected while the body runs, and pass on what nodes publish.

        The body does not wait for the connection, which is retried for as long as it takes.
        """
        inbound = Inbound(on_event, self._metrics)

        async def subscribe(client: Client) -> None:
            self._echo_subject = client.new_inbox()
            for subject, callback in (
                (subjects.ALL_CONTENT, inbound.content),
                (subjects.ALL_NODES, inbound.node),
                (self._echo_subject, self._take_echo),
            ):
                await client.subscribe_direct(subject, callback)
            await greet()

        async def greet() -> None:
            try:
                await self._send(subjects.HELLO, events.RouterStarted(router=self._router))
            except MessageNotSent as error:
                log.warning("hello not sent, waiting for the nodes' regular heartbeats", reason=error.reason)
            else:
                on_hello_sent()

        async def reconnected() -> None:
            self._metrics.bus_reconnects.inc()
            await greet()

        async def disconnected() -> None:
            on_link_lost()

        async with bus.connect(
            servers,
            name=f"heliograph-router {self._router}",
            on_connect=subscribe,
            on_reconnect=reconnected,
            on_disconnect=disconnected,
            access=access,
            inbox_prefix=subjects.ROUTER_INBOX,
        ) as client:
            self._client = client
            try:
                yield
            finally:
                self._client = None

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    async def round_trip(self) -> float | None:
        client, sent_s, token = self._client, time.monotonic(), uuid.uuid4().bytes
        if client is None or not client.is_connected or not self._echo_subject:
            return None
        returned = asyncio.get_running_loop().create_future()
        self._echo = (token, returned)
        try:
            await client.publish(self._echo_subject, token)
            async with asyncio.timeout(_ECHO_TIMEOUT_S):
                await returned
        except (nats.errors.Error, TimeoutError) as error:
            log.debug("message to ourselves not returned", reason=str(error) or type(error).__name__)
            return None
        finally:
            self._echo = None
        took_s = time.monotonic() - sent_s
        self._metrics.round_trip.observe(took_s)
        return took_s

    async def pull(self, need: NeedSnapshot) -> ReceivedSnapshot:
        try:
            snapshot = await self._pull(need)
        except SnapshotUnavailable:
            self._metrics.snapshots.labels("failed").inc()
            raise
        self._metrics.snapshots.labels("received").inc()
        return snapshot

    async def _pull(self, need: NeedSnapshot) -> ReceivedSnapshot:
        node = need.node
        try:
            async with asyncio.timeout(_PULL_TIMEOUT_S), self._inbox() as (inbox, subscription):
                await self._send(subjects.snapshot(node), messages.snapshot_request(need), reply=inbox)
                return await self._collect(need, subscription)
        except (MessageNotSent, events.MalformedMessage) as error:
            raise SnapshotUnavailable(node, error.reason) from error
        except TooLarge as error:
            raise SnapshotUnavailable(node, "the snapshot is too large") from error
        except TimeoutError as error:  # nats-py's TimeoutError derives from it
            raise SnapshotUnavailable(node, "the snapshot did not arrive in time") from error
        except nats.errors.Error as error:
            raise SnapshotUnavailable(node, str(error) or type(error).__name__) from error

    async def _collect(self, need: NeedSnapshot, subscription: Subscription) -> ReceivedSnapshot:
        """Two indexers with the node's name both answer; the one of a lower incarnation is not used."""
        assembly, node = Assembly(), need.node
        while True:
            message = await subscription.next_msg(timeout=_MAX_SILENCE_S)
            self._metrics.messages["snapshot"] += 1
            if not message.data and (message.headers or {}).get("Status") == _NO_RESPONDERS:
                raise SnapshotUnavailable(node, "no responders for the node's subject")
            decoded = events.decode(events.NodeSnapshot, message.data)
            if decoded.node != node:
                raise SnapshotUnavailable(node, f"node {decoded.node!r} answered instead")
            if decoded.incarnation < need.incarnation:
                continue
            if snapshot := assembly.add(messages.chunk(decoded)):
                return snapshot

    @asynccontextmanager
    async def _inbox(self) -> AsyncIterator[tuple[str, Subscription]]:
        client = self._connected("an inbox")
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, pending_bytes_limit=_PENDING_BYTES)
        try:
            yield inbox, subscription
        finally:
            with contextlib.suppress(nats.errors.Error):  # raised when the connection is already closed
                await subscription.unsubscribe()

    async def _send(self, subject: str, message: BaseModel, *, reply: str = "") -> None:
        client = self._connected(subject)
        headers = events.headers(
            type(message), source=self._source, event_id=uuid.uuid4().hex, trace=telemetry.inject()
        )
        try:
            await client.publish(subject, events.encode(message), reply=reply, headers=headers)
        except nats.errors.Error as error:
            raise MessageNotSent(subject, str(error) or type(error).__name__) from error

    def _connected(self, subject: str) -> Client:
        if self._client is None or not self._client.is_connected:
            raise MessageNotSent(subject, "not connected")
        return self._client

    def _take_echo(self, message: Message) -> None:
        if self._echo is not None and message.data == self._echo[0] and not self._echo[1].done():
            self._echo[1].set_result(None)
