import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from heliograph_cli.events import as_json_line, as_text
from heliograph_shared import events, subjects
from heliograph_shared.digest import digest_of
from heliograph_shared.inventory import RunningInventory

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
DIGEST, OTHER = digest_of(b"one"), digest_of(b"two")
NOTHING = RunningInventory().freeze()
NODE = "worker-1.example"


def message(subject: str, data: bytes, headers: dict[str, str] | None = None) -> Msg:
    return Msg(_client=Client(), subject=subject, data=data, headers=headers)


def text(subject: str, model: object, headers: dict[str, str] | None = None) -> str:
    return as_text(message(subject, events.encode(model), headers), AT)  # type: ignore[arg-type]


def test_a_change_is_told_by_what_came_and_went() -> None:
    change = events.ContentChanged(
        node=NODE,
        incarnation=1,
        sequence=7,
        added={DIGEST: 3 << 20},
        removed=[OTHER],
        tagged={"reg.test/app:1": events.Tagged(digest=DIGEST, tagged_at_ms=1)},
        untagged=["reg.test/old:1"],
        inventory=NOTHING,
    )
    assert text(subjects.content(NODE), change) == (
        "03:04:05.678  worker-1.example  content    seq 7, +1 (3 MiB) -1 blobs, "
        f"reg.test/app:1 -> {DIGEST[:19]}, reg.test/old:1 gone"
    )


def test_heartbeats_farewells_requests_and_routers_are_told_apart() -> None:
    alive = events.NodeHeartbeat(
        node=NODE, incarnation=1, sequence=2, addresses=["10.0.0.1:5000"], inventory=NOTHING
    )
    assert text(subjects.node(NODE), alive).endswith("alive      seq 2, 0 blobs, 0 tags, 10.0.0.1:5000")
    left = events.NodeLeft(node=NODE, incarnation=1, sequence=2)
    assert text(subjects.node(NODE), left, {"ce-type": events.type_of(events.NodeLeft)}).endswith(
        "left       seq 2"
    )
    assert "asked for its content" in text(subjects.snapshot(NODE), events.SnapshotRequest(incarnation=5))
    assert "router r-1 has started" in text(subjects.HELLO, events.RouterStarted(router="r-1"))


def test_json_lines_carry_the_message_as_it_was() -> None:
    data = {"router": "r-1", "new": [1]}
    line = as_json_line(message(subjects.HELLO, json.dumps(data).encode(), {"ce-id": "7"}))
    assert json.loads(line) == {"subject": subjects.HELLO, "headers": {"ce-id": "7"}, "data": data}


@pytest.mark.parametrize("data", [b"", b"{}", b'{"node": 3}', b"\xff\x00", b"[]"])
def test_what_breaks_the_contract_is_shown_as_such(data: bytes) -> None:
    broken = message(subjects.content(NODE), data)
    assert "malformed" in as_text(broken, AT)
    assert "not a ContentChanged" in json.loads(as_json_line(broken))["malformed"]


@given(st.text(max_size=40), st.binary(max_size=80))
def test_no_message_can_play_tricks_on_a_terminal(subject: str, data: bytes) -> None:
    broken = message(f"heliograph.v1.{subject}", data)
    assert as_text(broken, AT).isprintable()
    assert "\n" not in as_json_line(broken)
    assert json.loads(as_json_line(broken))["subject"] == broken.subject
