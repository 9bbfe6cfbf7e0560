"""Thousands of malformed messages on every subject of the router change nothing and stop nothing."""

import json
import random
from collections.abc import Iterator
from typing import Any

import orjson

from heliograph_shared import events, subjects
from heliograph_shared.digest import digest_of
from heliograph_shared.events import ContentChanged, NodeHeartbeat, NodeLeft, NodeSnapshot, Tagged
from tests.integration.router_support import BusNode, connect, living_node, serving_router
from tests.support.nats import NatsServer

CONTENT, OTHER = digest_of(b"content"), digest_of(b"other")
JUNK: list[Any] = [
    None,
    True,
    -1,
    1.5,
    2**70,
    "",
    "x",
    "\x00" * 300,
    [],
    [[]],
    {},
    {"x": {}},
    {"sha256:0": 1},
    ["sha256:zz"],
]
SEED = 4

Kind = type[ContentChanged | NodeHeartbeat | NodeLeft | NodeSnapshot]


def examples(node: BusNode) -> dict[Kind, dict[str, Any]]:
    """A message of each kind with every field filled, whose content is wrong."""
    at: dict[str, Any] = {"node": node.name, "incarnation": node.incarnation + 1, "sequence": 1}
    more: dict[str, Any] = {"inventory": node.inventory}
    tags = {"reg.test/app:1": Tagged(digest=OTHER, tagged_at_ms=1)}
    messages: list[ContentChanged | NodeHeartbeat | NodeLeft | NodeSnapshot] = [
        ContentChanged(
            **at, **more, added={OTHER: 1}, removed=[CONTENT], tagged=tags, untagged=["reg.test/app:2"]
        ),
        NodeHeartbeat(**at, **more, addresses=["10.9.9.9:1"], zone="z", downloading=[OTHER]),
        NodeLeft(**at),
        NodeSnapshot(**at, **more, chunk=0, chunks=1, content={OTHER: 1}, tags=tags, addresses=[], zone=""),
    ]
    return {type(message): orjson.loads(events.encode(message)) for message in messages}


def malformed(kind: Kind, example: dict[str, Any]) -> Iterator[bytes]:
    """Malformed variants of the example: fields replaced or left out, bytes cut or flipped."""
    chance, whole = random.Random(SEED), orjson.dumps(example)
    candidates = [chance.randbytes(size) for size in (0, 1, 10, 1000, 100_000)]
    candidates += [whole[: chance.randrange(len(whole))] for _ in range(100)]
    for field in example:
        candidates.append(orjson.dumps({name: value for name, value in example.items() if name != field}))
        candidates += [json.dumps({**example, field: junk}).encode() for junk in JUNK]
    for _ in range(400):
        flipped = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            flipped[chance.randrange(len(flipped))] = chance.randrange(256)
        candidates.append(bytes(flipped))
    return (payload for payload in candidates if not is_valid(kind, payload))


def is_valid(kind: Kind, payload: bytes) -> bool:
    """A variant that is well-formed is not of interest here."""
    try:
        events.decode(kind, payload)
    except events.MalformedMessage:
        return False
    return True


async def test_malformed_messages_change_nothing(nats_server: NatsServer) -> None:
    async with (
        serving_router(nats_server.url) as router,
        living_node(nats_server.url, "n") as node,
        connect(nats_server.url) as liar,
    ):
        await node.change(add=[CONTENT])
        await router.knows(CONTENT, "n")
        sent = 0
        for kind, example in examples(node).items():
            subject = subjects.content("n") if kind is ContentChanged else subjects.node("n")
            for payload in malformed(kind, example):
                headers = {"ce-type": f"heliograph.v1.{kind.__name__}"}
                if kind is NodeSnapshot:  # it is valid only as an answer, so malformed on any other subject
                    subject = subjects.content("n")
                if kind is not NodeSnapshot or not is_valid(ContentChanged, payload):
                    await liar.publish(subject, payload, headers=headers)
                    sent += 1
        await liar.flush()
        await node.change(add=[OTHER])
        await router.knows(OTHER, "n")
        assert await router.holders(CONTENT) == {"n"}
        assert await router.node_names() == {"n"}
        dropped = (await router.metrics())['heliograph_router_messages_dropped_total{reason="malformed"}']
        assert dropped == sent > 1_500


async def test_well_formed_messages_on_the_subject_of_another_node_change_nothing(
    nats_server: NatsServer,
) -> None:
    async with (
        serving_router(nats_server.url) as router,
        living_node(nats_server.url, "n") as node,
        connect(nats_server.url) as liar,
    ):
        await node.change(add=[CONTENT])
        await router.knows(CONTENT, "n")
        count = 0
        for kind, example in examples(node).items():
            headers = {"ce-type": f"heliograph.v1.{kind.__name__}"}
            for subject in (subjects.content("other"), subjects.node("other")):
                await liar.publish(subject, orjson.dumps(example), headers=headers)
                count += 1
        await liar.flush()
        await node.change(add=[OTHER])
        await router.knows(OTHER, "n")
        assert await router.holders(CONTENT) == {"n"}
        assert await router.node_names() == {"n"}
        metrics = await router.metrics()
        refused = (
            metrics.get(f'heliograph_router_messages_dropped_total{{reason="{why}"}}', 0)
            for why in ("wrong_node", "malformed")
        )
        assert sum(refused) == count


async def test_malformed_snapshots_are_not_used(nats_server: NatsServer) -> None:
    """A node answers each request with another malformed snapshot, and finally with a valid one."""
    async with serving_router(nats_server.url) as router, connect(nats_server.url) as client:
        node = BusNode(client, "n", sequence=3, content={CONTENT: 100})
        wrong = random.Random(SEED).sample(list(malformed(NodeSnapshot, examples(node)[NodeSnapshot])), 3)

        async def answer(message: Any) -> None:
            if wrong:
                await client.publish(message.reply, wrong.pop())
            else:
                await node._answer(message)

        await client.subscribe(subjects.snapshot("n"), cb=answer)
        await node.heartbeat()
        await router.knows(CONTENT, "n", within=20)
        assert await router.holders(OTHER) == set()
