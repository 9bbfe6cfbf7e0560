"""`docs/asyncapi.json`, on standard output: bus contract v1 as an AsyncAPI 3.0 document, for tools.

Made from the models and subjects, from the view of a node's indexer. https://www.asyncapi.com/docs
"""

import inspect
import sys
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from heliograph_shared import events, subjects

_NODE = "{node}"
_CHANNELS: dict[str, tuple[str | None, list[type[BaseModel]], str]] = {
    "content": (subjects.ALL_CONTENT, [events.ContentChanged], "Changes of a node's content."),
    "node": (subjects.ALL_NODES, [events.NodeHeartbeat, events.NodeLeft], "A node is alive, or has left."),
    "snapshot": (subjects.ALL_SNAPSHOTS, [events.SnapshotRequest], "Asks a node for all its content."),
    "snapshotReply": (None, [events.NodeSnapshot], "The request's reply subject."),
    "hello": (subjects.HELLO, [events.RouterStarted], "A router starts and asks all nodes for a heartbeat."),
}
_OPERATIONS: dict[str, tuple[str, str]] = {
    "publishContent": ("send", "content"),
    "publishNode": ("send", "node"),
    "answerSnapshotRequest": ("receive", "snapshot"),
    "hearHello": ("receive", "hello"),
}
_TEXT = {"type": "string", "minLength": 1}
_HEADERS = {
    "type": "object",
    "description": "CloudEvents 1.0 attributes, and the W3C trace context where tracing is on.",
    "required": ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "content-type"],
    "properties": {
        "ce-specversion": {"const": "1.0"},
        "ce-id": {**_TEXT, "description": "unique within the source"},
        "ce-source": {**_TEXT, "format": "uri-reference"},
        "ce-type": {**_TEXT, "description": "heliograph.v1. and the name of the message"},
        "ce-time": {**_TEXT, "format": "date-time"},
        "content-type": {"const": "application/json"},
        "traceparent": _TEXT,
        "tracestate": {"type": "string"},
    },
}


def document() -> dict[str, Any]:
    messages = [model for _, models, _ in _CHANNELS.values() for model in models]
    _, found = models_json_schema(
        [(model, "validation") for model in messages], ref_template="#/components/schemas/{model}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Heliograph, a node on the bus",
            "version": "1.0.0",
            "description": "Content events of the nodes of a cluster, over core NATS. See events.md.",
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(*channel) for name, channel in _CHANNELS.items()},
        "operations": {name: _operation(*operation) for name, operation in _OPERATIONS.items()},
        "components": {
            "messages": {model.__name__: _message(model) for model in messages},
            "schemas": {"Headers": _HEADERS, **found["$defs"]},
        },
    }


def _channel(subject: str | None, models: list[type[BaseModel]], description: str) -> dict[str, Any]:
    address = subject and subject.replace("*", _NODE)
    channel: dict[str, Any] = {
        "address": address,
        "description": description,
        "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in models},
    }
    if address and _NODE in address:
        described = "the node's name, with . % * > and white space percent-encoded"
        channel["parameters"] = {"node": {"description": described}}
    return channel


def _operation(action: str, channel: str) -> dict[str, Any]:
    operation: dict[str, Any] = {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}
    if channel == "snapshot":
        operation["reply"] = {
            "address": {"location": "$message.header#/reply"},
            "channel": {"$ref": "#/channels/snapshotReply"},
        }
    return operation


def _message(model: type[BaseModel]) -> dict[str, Any]:
    typed = {"properties": {"ce-type": {"const": events.type_of(model)}}}
    return {
        "name": events.type_of(model),
        "title": model.__name__,
        "summary": inspect.getdoc(model),
        "contentType": "application/json",
        "headers": {"allOf": [{"$ref": "#/components/schemas/Headers"}, typed]},
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
