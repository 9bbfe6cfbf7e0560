"""`docs/asyncapi.json` describes the messages that the code sends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from pydantic import BaseModel

from docs.reference.asyncapi import document
from heliograph_shared import events, subjects
from heliograph_shared.digest import digest_of
from heliograph_shared.inventory import RunningInventory

DOCS = Path(__file__).parents[3] / "docs"
A = digest_of(b"a")
AT: dict[str, Any] = {"node": "worker-1", "incarnation": 1, "sequence": 2}
INVENTORY: dict[str, Any] = {"inventory": RunningInventory().freeze()}
TAGGED = {"reg.test/app:1": events.Tagged(digest=A, tagged_at_ms=3)}
MESSAGES = [
    events.ContentChanged(
        **AT, **INVENTORY, added={A: 1}, removed=[A], tagged=TAGGED, untagged=["reg.test/a:1"]
    ),
    events.NodeHeartbeat(**AT, **INVENTORY, addresses=["10.0.0.1:5000"], zone="z", downloading=[A]),
    events.NodeLeft(**AT),
    events.SnapshotRequest(incarnation=1),
    events.NodeSnapshot(**AT, **INVENTORY, chunk=0, chunks=1, content={A: 1}, tags=TAGGED),
    events.RouterStarted(router="r"),
]


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document()["components"]})


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_sent_fits_what_is_documented(message: BaseModel) -> None:
    described = document()["components"]["messages"][type(message).__name__]
    payload = json.loads(events.encode(message))
    headers = events.headers(type(message), source="/nodes/worker-1", event_id="1", trace={})
    validator(described["payload"]).validate(payload)
    validator(described["headers"]).validate(headers)
    for field, value in payload.items():
        if isinstance(value, int):
            with pytest.raises(ValidationError):
                validator(described["payload"]).validate({**payload, field: "x"})
    with pytest.raises(ValidationError):
        validator(described["headers"]).validate({**headers, "ce-type": "another"})


def test_every_message_and_subject_is_in_it() -> None:
    found = document()
    models = {
        model.__name__
        for model in vars(events).values()
        if isinstance(model, type)
        and issubclass(model, BaseModel)
        and model.__doc__
        and model is not BaseModel
    }
    assert set(found["components"]["messages"]) == models - {"BaseModel", "_Message", "Tagged", "Inventory"}
    addresses = {channel["address"] for channel in found["channels"].values()}
    assert addresses == {
        subjects.content("{node}"),
        subjects.node("{node}"),
        subjects.snapshot("{node}"),
        subjects.HELLO,
        None,
    }


def test_references_lead_somewhere() -> None:
    found = document()
    for reference in references(found):
        part = found
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
        assert part


def test_every_field_is_described_in_both_documents() -> None:
    """The page for people is written by hand, so nothing may be missing in it, nor be there no longer."""
    text = (DOCS / "events.md").read_text()
    for name, schema in document()["components"]["schemas"].items():
        if name in {"Headers", "Tagged"}:
            continue
        table = text.partition(f"### {name}\n")[2].partition("\n#")[0]
        first_cells = (line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
        documented = {cell.strip(" `") for cells in first_cells for cell in cells.split(",")}
        assert documented == set(schema["properties"]), name
        for field, described in schema["properties"].items():
            assert described.get("description") or "$ref" in described, f"{name}.{field}"
