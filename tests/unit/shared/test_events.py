"""Messages: what is written is read, unknown fields pass, wrong types do not, and nothing else is raised."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_shared import events
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.events import (
    ContentChanged,
    MalformedMessage,
    NodeHeartbeat,
    NodeLeft,
    NodeSnapshot,
    RouterStarted,
    SnapshotRequest,
    Tagged,
    decode,
    encode,
)
from heliograph_shared.inventory import Inventory

KINDS: tuple[type[Any], ...] = (
    ContentChanged,
    NodeHeartbeat,
    NodeLeft,
    NodeSnapshot,
    RouterStarted,
    SnapshotRequest,
)

counts = st.integers(0, 2**63 - 1)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
digests = st.binary(max_size=4).map(digest_of)
content = st.dictionaries(digests, counts, max_size=3)
tags = st.dictionaries(names, st.builds(Tagged, digest=digests, tagged_at_ms=counts), max_size=3)
checksums = st.integers(0, 2**64 - 1).map("{:016x}".format)
inventories = st.builds(
    Inventory, digests=counts, digest_checksum=checksums, tags=counts, tag_checksum=checksums
)
positions = {"node": names, "incarnation": counts, "sequence": counts}
messages = st.one_of(
    st.builds(
        ContentChanged,
        **positions,
        added=content,
        removed=st.lists(digests, max_size=3),
        tagged=tags,
        untagged=st.lists(names, max_size=3),
        inventory=inventories,
    ),
    st.builds(
        NodeHeartbeat,
        **positions,
        addresses=st.lists(st.just("10.0.0.1:5000"), max_size=2),
        zone=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        downloading=st.lists(digests, max_size=3),
        inventory=inventories,
    ),
    st.builds(NodeLeft, **positions),
    st.builds(
        NodeSnapshot,
        **positions,
        chunk=counts,
        chunks=st.integers(1, 65536),
        content=content,
        tags=tags,
        inventory=inventories,
    ),
    st.builds(SnapshotRequest, incarnation=counts),
    st.builds(RouterStarted, router=names),
)

LEFT = {"node": "a", "incarnation": 1, "sequence": 2}
INVENTORY = {"digests": 0, "digest_checksum": "0" * 16, "tags": 0, "tag_checksum": "0" * 16}
DIGEST = digest_of(b"")


@given(messages)
def test_what_is_written_is_read(message: Any) -> None:
    assert decode(type(message), encode(message)) == message


@given(messages, st.dictionaries(names.map("x-{}".format), st.integers() | st.none(), max_size=3))
def test_unknown_fields_pass(message: Any, unknown: dict[str, Any]) -> None:
    payload = json.dumps(json.loads(encode(message)) | unknown).encode()
    if any(isinstance(value, int) and abs(value) >= 2**63 for value in unknown.values()):
        return
    assert decode(type(message), payload) == message


@pytest.mark.parametrize(
    ("kind", "payload", "where"),
    [
        (NodeLeft, {}, "node"),
        (NodeLeft, LEFT | {"node": ""}, "node"),
        (NodeLeft, LEFT | {"node": "x" * 254}, "node"),
        (NodeLeft, LEFT | {"node": 1}, "node"),
        (NodeLeft, LEFT | {"incarnation": "1"}, "incarnation"),
        (NodeLeft, LEFT | {"incarnation": 1.0}, "incarnation"),
        (NodeLeft, LEFT | {"incarnation": True}, "incarnation"),
        (NodeLeft, LEFT | {"sequence": -1}, "sequence"),
        (NodeLeft, LEFT | {"sequence": 2**63}, "sequence"),
        (NodeLeft, LEFT | {"sequence": 2**70}, "sequence"),
        (NodeLeft, [LEFT], ""),
        (NodeLeft, None, ""),
        (ContentChanged, LEFT, "inventory"),
        (ContentChanged, LEFT | {"inventory": INVENTORY, "added": {"sha256:0": 1}}, "added.sha256:0"),
        (ContentChanged, LEFT | {"inventory": INVENTORY, "added": {DIGEST: -1}}, "added.sha256:"),
        (ContentChanged, LEFT | {"inventory": INVENTORY, "added": [DIGEST]}, "added"),
        (ContentChanged, LEFT | {"inventory": INVENTORY, "removed": DIGEST}, "removed"),
        (ContentChanged, LEFT | {"inventory": INVENTORY, "untagged": ["x" * 641]}, "untagged.0"),
        (ContentChanged, LEFT | {"inventory": INVENTORY | {"tag_checksum": "0"}}, "inventory.tag_checksum"),
        (NodeSnapshot, LEFT | {"inventory": INVENTORY, "chunk": 0, "chunks": 0}, "chunks"),
    ],
)
def test_what_does_not_fit_is_refused_and_named(kind: type[Any], payload: object, where: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode(kind, json.dumps(payload).encode())
    assert caught.value.kind == kind.__name__
    assert caught.value.reason.startswith(where)
    assert len(str(caught.value)) < 400


@given(st.sampled_from(KINDS), st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_garbage_is_malformed(kind: type[Any], payload: bytes) -> None:
    try:
        decode(kind, payload)
    except MalformedMessage:
        return
    assert json.loads(payload) == {} or kind is SnapshotRequest


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"\xff", b"NaN", b'{"node": "\\ud800"}', b"[" * 100_000, b'"x', b"{}{}", b"\0"]
)
def test_what_is_no_json_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(NodeLeft, payload)


def test_a_reason_stays_short_whatever_was_sent() -> None:
    payload = json.dumps(LEFT | {"inventory": INVENTORY, "added": {"k" * 500_000: 1}}).encode()
    with pytest.raises(MalformedMessage) as caught:
        decode(ContentChanged, payload)
    assert len(str(caught.value)) < 400


def test_headers_are_cloudevents_and_the_trace() -> None:
    trace = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
    headers = events.headers(NodeLeft, source="/nodes/a", event_id="1/2", trace=trace)
    at = datetime.fromisoformat(headers.pop("ce-time"))
    assert headers == trace | {
        "ce-specversion": "1.0",
        "ce-id": "1/2",
        "ce-source": "/nodes/a",
        "ce-type": "heliograph.v1.NodeLeft",
        "content-type": "application/json",
    }
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)


def test_a_message_cannot_be_changed() -> None:
    message = NodeLeft(node="a", incarnation=1, sequence=2)
    with pytest.raises(ValueError, match="frozen"):
        message.node = "b"  # type: ignore[misc]
    assert message.node == "a"


def test_digests_are_plain_text_on_the_wire() -> None:
    changed = ContentChanged(**LEFT, added={Digest(DIGEST): 5}, inventory=Inventory(**INVENTORY))  # type: ignore[arg-type]
    assert json.loads(encode(changed))["added"] == {DIGEST: 5}
