"""The subjects of bus contract v1. A node's name is one token, with special characters percent-encoded."""

import re
from urllib.parse import unquote

HELLO = "heliograph.v1.hello"

_CONTENT, _NODE, _SNAPSHOT = "heliograph.v1.content", "heliograph.v1.node", "heliograph.v1.snapshot"
ALL_CONTENT = f"{_CONTENT}.*"
ALL_NODES = f"{_NODE}.*"
ALL_SNAPSHOTS = f"{_SNAPSHOT}.*"
ROUTER_INBOX = "_INBOX_heliograph_router"
"""Prefix of the subjects on which routers receive replies; nobody else may subscribe there."""
EVERYTHING = "heliograph.v1.>"

_reserved = re.compile(r"[.%*>\s\x00-\x1f\x7f]")


def content(node: str) -> str:
    return f"{_CONTENT}.{encode(node)}"


def node(name: str) -> str:
    return f"{_NODE}.{encode(name)}"


def snapshot(node: str) -> str:
    return f"{_SNAPSHOT}.{encode(node)}"


def node_of(subject: str) -> str:
    """The node named by the last token of `subject`."""
    token = subject.rpartition(".")[2]
    return unquote(token) if "%" in token else token


def template_of(subject: str) -> str:
    """`subject` without the node, so that span names and labels are a bounded set."""
    head, _, _ = subject.rpartition(".")
    return head if head in {_CONTENT, _NODE, _SNAPSHOT} else subject


def encode(name: str) -> str:
    """Percent-encode NATS' special characters (UTF-8 octets, RFC 3986 section 2.1)."""
    return _reserved.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)
