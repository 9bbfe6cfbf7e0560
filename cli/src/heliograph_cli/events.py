"""`heliograph events`: prints the messages on the bus, as text or as lines of JSON.

A message that violates the contract is marked as malformed; it does not end the stream.
"""

import asyncio
import json
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import assert_never

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from heliograph_cli.credentials import ClientTls
from heliograph_cli.errors import Unreachable
from heliograph_cli.render import plain, short
from heliograph_shared import bus, subjects
from heliograph_shared.bus_client import Client
from heliograph_shared.events import (
    ContentChanged,
    MalformedMessage,
    NodeHeartbeat,
    NodeLeft,
    RouterStarted,
    SnapshotRequest,
    decode,
    type_of,
)
from heliograph_shared.formatting import size

_CONNECT_TIMEOUT_S = 5.0
_SHOWN_TAGS, _SHOWN_ERRORS = 3, 3
_MAX_ERRORS = 100

Message = ContentChanged | NodeHeartbeat | NodeLeft | SnapshotRequest | RouterStarted


async def events(urls: list[str], user_file: Path | None, tls: ClientTls, *, as_json: bool) -> None:
    """Print every message until cancelled, and errors of the connection on standard error.

    Raises `Unreachable` when there is no connection within 5 s.
    """
    errors: dict[str, None] = {}
    subscribed: asyncio.Future[Subscription] = asyncio.get_running_loop().create_future()

    async def subscribe(client: Client) -> None:
        subscription = await client.subscribe(subjects.EVERYTHING)
        if not subscribed.done():  # else the wait for it has just timed out
            subscribed.set_result(subscription)

    def note(reason: str) -> None:
        if subscribed.done() and reason not in errors:
            print(f"heliograph: {plain(reason)}", file=sys.stderr)  # noqa: T201 - the answer to a person
        if len(errors) < _MAX_ERRORS:
            errors[reason] = None

    access = tls.access(urls, user_file)
    async with bus.connect(
        urls, name="heliograph events", on_connect=subscribe, access=access, on_error=note
    ):
        try:
            subscription = await asyncio.wait_for(subscribed, _CONNECT_TIMEOUT_S)
        except TimeoutError as error:
            where = ", ".join(url.rpartition("@")[2] for url in urls)
            reason = "; ".join(list(errors)[:_SHOWN_ERRORS]) or f"not within {_CONNECT_TIMEOUT_S:g} s"
            raise Unreachable("NATS server", where, reason) from error
        try:
            async for message in subscription.messages:
                line = as_json_line(message) if as_json else as_text(message, datetime.now().astimezone())
                print(line, flush=True)  # noqa: T201 - the output of the command
        finally:
            with suppress(NatsError):  # else closing waits until somebody takes the messages that are left
                await subscription.unsubscribe()


def as_text(message: Msg, at: datetime) -> str:
    """One line: time, node, kind of message, content; without control characters."""
    try:
        text = _description(read(message))
    except MalformedMessage as error:
        text = f"malformed  {error}: {message.data[:80]!r}"
    subject = message.subject.removeprefix("heliograph.v1.")
    kind, _, _ = subject.partition(".")
    node = subjects.node_of(subject) if kind != subject else "-"
    return plain(f"{at:%H:%M:%S}.{at.microsecond // 1000:03}  {node:12}  {kind:9}  {text}")


def as_json_line(message: Msg) -> str:
    """`subject`, `headers`, `data`; and `malformed`, with the reason, if it violates the contract."""
    line: dict[str, object] = {"subject": message.subject, "headers": dict(message.headers or {})}
    try:
        line["data"] = json.loads(message.data)
    except ValueError:
        line["data"] = message.data.decode(errors="replace")
    try:
        read(message)
    except MalformedMessage as error:
        line["malformed"] = str(error)
    return json.dumps(line)


def read(message: Msg) -> Message:
    """Raises `MalformedMessage`."""
    template = subjects.template_of(message.subject)
    match template:
        case "heliograph.v1.content":
            return decode(ContentChanged, message.data)
        case "heliograph.v1.node":
            left = (message.headers or {}).get("ce-type") == type_of(NodeLeft)
            return decode(NodeLeft, message.data) if left else decode(NodeHeartbeat, message.data)
        case "heliograph.v1.snapshot":
            return decode(SnapshotRequest, message.data)
        case subjects.HELLO:
            return decode(RouterStarted, message.data)
        case _:
            raise MalformedMessage("message of the contract", f"no such subject: {message.subject}")


def _description(message: Message) -> str:
    match message:
        case ContentChanged():
            return _change(message)
        case NodeHeartbeat(sequence=sequence, inventory=held, addresses=addresses):
            reached = " ".join(addresses) or "not reachable"
            return f"alive      seq {sequence}, {held.digests:,} blobs, {held.tags:,} tags, {reached}"
        case NodeLeft(sequence=sequence):
            return f"left       seq {sequence}"
        case SnapshotRequest(incarnation=incarnation):
            return f"asked for its content, known incarnation {incarnation}"
        case RouterStarted(router=router):
            return f"router {router} has started"
        case _:
            assert_never(message)


def _change(change: ContentChanged) -> str:
    added = f"+{len(change.added)} ({size(sum(change.added.values()))})" if change.added else "+0"
    tags = [f"{name} -> {short(tag.digest)}" for name, tag in change.tagged.items()]
    tags += [f"{name} gone" for name in change.untagged]
    more = f" and {len(tags) - _SHOWN_TAGS} more" if len(tags) > _SHOWN_TAGS else ""
    named = f", {', '.join(tags[:_SHOWN_TAGS])}{more}" if tags else ""
    return f"seq {change.sequence}, {added} -{len(change.removed)} blobs{named}"
