"""Handles messages of nodes: checks them against the contract, counts them, and passes them on as events.

A message that violates the contract is counted and dropped; the first of each kind is logged. Each delta is
applied in a trace of its own, linked to the publisher's, because every router receives the same message.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TypeVar

import structlog
from opentelemetry import trace
from opentelemetry.context import Context

from heliograph_router.adapters import messages
from heliograph_router.adapters.metrics import RouterMetrics
from heliograph_router.domain.cluster import Refusal
from heliograph_router.domain.events import NodeEvent
from heliograph_shared import events, subjects, telemetry
from heliograph_shared.bus_client import Message

log = structlog.get_logger()
tracer = trace.get_tracer("heliograph_router")

OnEvent = Callable[[NodeEvent], Refusal | None]

_MAX_LAG_S = 60.0
_LAG_EVERY_S = 0.001  # reading a message's headers takes as long as applying it
_EXPECTED = {Refusal.STALE, Refusal.REPEATED}

_NodeMessage = TypeVar("_NodeMessage", events.ContentChanged, events.NodeHeartbeat, events.NodeLeft)


class Inbound:
    """The callbacks of the subscriptions."""

    def __init__(self, on_event: OnEvent, metrics: RouterMetrics) -> None:
        self._on_event, self._metrics = on_event, metrics
        self._traced = telemetry.enabled()
        self._messages = metrics.messages
        self._logged: set[str] = set()
        self._next_lag_s = 0.0

    def content(self, message: Message) -> None:
        changed = self._read(events.ContentChanged, message, "content")
        if changed is None:
            return
        if not self._traced:
            self._apply(changed, message)
            return
        with _processing(message, changed.node):
            self._apply(changed, message)

    def node(self, message: Message) -> None:
        kind = message.headers.get("ce-type", "")
        if kind.endswith(events.NodeLeft.__name__):
            if left := self._read(events.NodeLeft, message, "left"):
                self._pass_on(messages.left(left))
        elif heartbeat := self._read(events.NodeHeartbeat, message, "heartbeat"):
            self._pass_on(messages.alive(heartbeat))

    def _apply(self, changed: events.ContentChanged, message: Message) -> None:
        if self._pass_on(messages.changed(changed)) and (now_s := time.monotonic()) >= self._next_lag_s:
            self._next_lag_s = now_s + _LAG_EVERY_S
            if (lag_s := _age_s(message)) is not None:
                self._metrics.lag.observe(lag_s)

    def _pass_on(self, event: NodeEvent) -> bool:
        """True if the event changed anything."""
        refusal = self._on_event(event)
        if refusal:
            self._drop(refusal, node=event.node)
        return refusal is None

    def _read(self, kind: type[_NodeMessage], message: Message, label: str) -> _NodeMessage | None:
        self._messages[label] += 1
        try:
            decoded = events.decode(kind, message.data)
        except events.MalformedMessage as error:
            self._drop("malformed", kind=label, problem=error.reason)
            return None
        if decoded.node != subjects.node_of(message.subject):
            self._drop("wrong_node", kind=label, node=decoded.node, subject=message.subject)
            return None
        return decoded

    def _drop(self, reason: str, **details: str) -> None:
        self._metrics.dropped.labels(reason).inc()
        problem = f"{reason} {details.get('kind', '')}"
        if reason not in _EXPECTED and problem not in self._logged:
            self._logged.add(problem)
            log.warning("messages are dropped, logging only the first of this kind", reason=reason, **details)


def _age_s(message: Message) -> float | None:
    """Seconds since the message was sent, by the two clocks, from 0 to 60; None without a valid `ce-time`."""
    try:
        sent = datetime.fromisoformat(message.headers["ce-time"])
        return min(max(0.0, time.time() - sent.timestamp()), _MAX_LAG_S)
    except (KeyError, ValueError, OverflowError):
        return None


def _processing(message: Message, node: str) -> AbstractContextManager[trace.Span]:
    published = trace.get_current_span(telemetry.extract(message.headers)).get_span_context()
    template = subjects.template_of(message.subject)
    return tracer.start_as_current_span(
        f"process {template}",
        context=Context(),
        kind=trace.SpanKind.CONSUMER,
        links=[trace.Link(published)] if published.is_valid else [],
        attributes={
            "messaging.system": "nats",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": message.subject,
            "messaging.destination.template": template,
            "heliograph.node": node,
        },
    )
