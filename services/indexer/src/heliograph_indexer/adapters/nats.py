"""Bus contract v1 over core NATS: publishes this node's messages and receives requests of routers.

A message that cannot be sent is dropped, never queued: the next heartbeat's sequence and inventory let a
router find out what it missed. Received messages are validated here; a malformed one is dropped, and the
first of each kind is logged.
"""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import quote

import nats.errors
import structlog
from nats.aio.msg import Msg
from opentelemetry import trace
from pydantic import BaseModel

from heliograph_indexer.adapters.bus_messages import BusMessages
from heliograph_indexer.adapters.metrics import IndexerMetrics
from heliograph_indexer.domain.namesakes import KnownNode, Namesake
from heliograph_indexer.domain.publication import Delta, Position, PublishedSnapshot
from heliograph_indexer.errors import PublishFailed
from heliograph_shared import bus, events, subjects, telemetry
from heliograph_shared.bus_client import NO_ACCESS, Access, Client
from heliograph_shared.digest import Digest

log = structlog.get_logger()
tracer = trace.get_tracer("heliograph_indexer")

_MAX_REQUESTS = 64
"""Pending requests beyond these are dropped; routers ask again."""

OnEvent = Callable[[], None]
OnSnapshot = Callable[[KnownNode], Awaitable[PublishedSnapshot | None]]
"""Called with what the router knows of this node; None while there is nothing to announce."""


class NatsAnnouncer:
    """Sends while it is open and connected; otherwise `PublishFailed` is raised."""

    def __init__(self, node: str, zone: str, metrics: IndexerMetrics) -> None:
        self._node, self._metrics = node, metrics
        self._messages = BusMessages(node, zone)
        self._source = f"/nodes/{quote(subjects.encode(node), safe='%')}"
        self._client: Client | None = None
        self._logged_kinds: set[str] = set()

    @asynccontextmanager
    async def open(
        self,
        servers: Sequence[str],
        access: Access = NO_ACCESS,
        *,
        on_connected: OnEvent,
        on_hello: OnEvent,
        on_snapshot: OnSnapshot,
    ) -> AsyncIterator[None]:
        """Connect in the background, trying for as long as the body runs, and call back on requests."""

        async def hello(message: Msg) -> None:
            if self._read(events.RouterStarted, message):
                on_hello()

        async def snapshot(message: Msg) -> None:
            request = self._read(events.SnapshotRequest, message)
            if request and message.reply and (answer := await on_snapshot(_known(request))):
                await self._reply(message.reply, answer)

        async def connected(client: Client) -> None:
            await client.subscribe(subjects.HELLO, cb=hello, pending_msgs_limit=_MAX_REQUESTS)
            await client.subscribe(
                subjects.snapshot(self._node), cb=snapshot, pending_msgs_limit=_MAX_REQUESTS
            )
            self._client = client
            on_connected()

        async def reconnected() -> None:
            self._metrics.bus_reconnects.inc()
            on_connected()

        name = f"heliograph-indexer {self._node}"
        async with bus.connect(
            servers, name=name, on_connect=connected, on_reconnect=reconnected, access=access
        ):
            try:
                yield
            finally:
                self._client = None

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    async def changed(self, delta: Delta, noted_s: float | None) -> None:
        subject = subjects.content(self._node)
        template = subjects.template_of(subject)
        attributes = {
            "messaging.system": "nats",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": subject,
            "messaging.destination.template": template,
        }
        with tracer.start_as_current_span(
            f"send {template}", kind=trace.SpanKind.PRODUCER, attributes=attributes
        ):
            await self._publish(subject, self._messages.changed(delta))
        if noted_s is not None:
            self._metrics.published(time.monotonic() - noted_s)

    async def alive(
        self, position: Position, addresses: Sequence[str], downloading: Sequence[Digest]
    ) -> None:
        message = self._messages.alive(position, addresses, downloading)
        await self._publish(subjects.node(self._node), message)

    async def left(self, position: Position) -> None:
        await self._publish(subjects.node(self._node), self._messages.left(position))

    async def _reply(self, subject: str, snapshot: PublishedSnapshot) -> None:
        try:
            for message in self._messages.snapshot(snapshot):
                await self._publish(subject, message)
        except PublishFailed as error:
            log.warning("snapshot not sent, the router will ask again", reason=error.reason)

    async def _publish(self, subject: str, message: BaseModel) -> None:
        if self._client is None or not self._client.is_connected:
            self._metrics.unsent.inc()
            raise PublishFailed(subject, "not connected")
        kind = type(message)
        headers = events.headers(
            kind, source=self._source, event_id=uuid.uuid4().hex, trace=telemetry.inject()
        )
        try:
            await self._client.publish(subject, events.encode(message), headers=headers)
        except nats.errors.Error as error:
            self._metrics.unsent.inc()
            raise PublishFailed(subject, str(error) or type(error).__name__) from error
        self._metrics.published_messages.labels(kind.__name__).inc()

    def _read(self, kind: type[events.M], message: Msg) -> events.M | None:
        try:
            return events.decode(kind, message.data)
        except events.MalformedMessage as error:
            self._metrics.malformed.inc()
            if error.kind not in self._logged_kinds:
                self._logged_kinds.add(error.kind)
                log.warning("malformed messages are dropped", kind=error.kind, first_reason=error.reason)
            return None


def _known(request: events.SnapshotRequest) -> KnownNode:
    followed = Namesake(request.incarnation, tuple(request.addresses))
    if not request.namesake:
        return KnownNode(followed)
    return KnownNode(followed, Namesake(request.namesake, tuple(request.namesake_addresses)))
