"""The subjects of bus contract v1. A node's name is one token, percent-encoded where NATS reads a meaning."""

import re
from urllib.parse import unquote

HELLO = "heliograph.v1.hello"

_CONTENT, _NODE, _SNAPSHOT = "heliograph.v1.content", "heliograph.v1.node", "heliograph.v1.snapshot"
ALL_CONTENT = f"{_CONTENT}.*"
ALL_NODES = f"{_NODE}.*"
ALL_SNAPSHOTS = f"{_SNAPSHOT}.*"
ROUTER_INBOX = "_INBOX_heliograph_router"
"""Begins what routers are answered on; nobody else may listen there."""
EVERYTHING = "heliograph.v1.>"

_reserved = re.compile(r"[.%*>\s\x00-\x1f\x7f]")


def content(node: str) -> str:
    return f"{_CONTENT}.{encode(node)}"


def node(name: str) -> str:
    return f"{_NODE}.{encode(name)}"


def snapshot(node: str) -> str:
    return f"{_SNAPSHOT}.{encode(node)}"


def node_of(subject: str) -> str:
    """The node that the last token of `subject` names."""
    token = subject.rpartition(".")[2]
    return unquote(token) if "%" in token else token


def template_of(subject: str) -> str:
    """`subject` with the node left open, for span names and labels: a bounded set."""
    head, _, _ = subject.rpartition(".")
    return head if head in {_CONTENT, _NODE, _SNAPSHOT} else subject


def encode(name: str) -> str:
    """Percent-encode what NATS gives a meaning in a token (UTF-8 octets, RFC 3986 section 2.1)."""
    return _reserved.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)
