"""Many simulated nodes on the bus, in a separate process: `python -m bench.fleet MODE ...`.

Prints a line when it is ready, waits for a line on standard input, and then publishes.
"""

import argparse
import asyncio
import json
import random
import socket
import sys
import time
from collections.abc import Iterator

import nats
from nats.aio.msg import Msg

from heliograph_shared import events, subjects
from heliograph_shared.digest import Digest
from heliograph_shared.inventory import Inventory, RunningInventory

DIGESTS, ON_ALL = 200_000, 200
_SLICE_S = 0.005
_EMPTY = RunningInventory().freeze()


def digest(number: int) -> str:
    return f"sha256:{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}{number:048x}"


def frame(subject: str, kind: type[events.ContentChanged | events.NodeHeartbeat], payload: bytes) -> bytes:
    """The message as a NATS client would write it."""
    attributes = events.headers(kind, source="/nodes/n", event_id="0" * 32, trace={})
    head = "".join(["NATS/1.0\r\n", *(f"{name}: {value}\r\n" for name, value in attributes.items()), "\r\n"])
    size = len(head) + len(payload)
    return f"HPUB {subject} {len(head)} {size}\r\n{head}".encode() + payload + b"\r\n"


def heartbeat(number: int, sequence: int, inventory: Inventory) -> bytes:
    message = events.NodeHeartbeat(
        node=f"n{number}",
        incarnation=1,
        sequence=sequence,
        addresses=[f"10.0.0.{number % 250}:5000"],
        inventory=inventory,
    )
    return frame(subjects.node(message.node), type(message), events.encode(message))


def delta(node: int, sequence: int, digests: Iterator[str], count: int) -> bytes:
    message = events.ContentChanged(
        node=f"n{node}",
        incarnation=1,
        sequence=sequence,
        added={Digest(next(digests)): 1 << 20 for _ in range(count)},
        inventory=_EMPTY,
    )
    return frame(subjects.content(message.node), type(message), events.encode(message))


def empty_node(number: int) -> bytes:
    """The messages of an empty node, which a router then knows completely."""
    return delta(number, 1, iter(()), 0) + heartbeat(number, 1, _EMPTY)


class RawNatsConnection:
    """A connection to nats-server that takes the client almost no CPU."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.sendall(b'CONNECT {"verbose":false,"headers":true}\r\n')
        self.flush()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def flush(self) -> None:
        """Wait until the server has received everything."""
        self._socket.sendall(b"PING\r\n")
        while b"PONG" not in (received := self._socket.recv(65536)):
            if not received:
                raise ConnectionError("the server closed the connection")


def ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def publish_deltas(port: int, nodes: int, messages: int, each: int, rate: int) -> None:
    """Every node sends a heartbeat; then deltas follow, `rate` per second, or as fast as possible if 0."""
    connection = RawNatsConnection(port)
    connection.send(b"".join(empty_node(number) for number in range(nodes)))
    digests = iter(map(digest, range(messages * each)))
    frames = [delta(turn % nodes, turn // nodes + 2, digests, each) for turn in range(messages)]
    connection.flush()
    ready()
    began = time.monotonic()
    if rate:
        step = max(1, round(rate * _SLICE_S))
        for at in range(0, len(frames), step):
            connection.send(b"".join(frames[at : at + step]))
            time.sleep(max(0.0, began + (at + step) / rate - time.monotonic()))
    else:
        connection.send(b"".join(frames))
    connection.flush()
    print(json.dumps({"began_s": began, "seconds": time.monotonic() - began}), flush=True)


def announce(port: int, nodes: int, holders: int) -> None:
    """The last `holders` of `nodes` live nodes announce digest 0, all at the same moment."""
    connection = RawNatsConnection(port)
    connection.send(b"".join(empty_node(number) for number in range(nodes)))
    frames = [delta(number, 2, iter([digest(0)]), 1) for number in range(nodes - holders, nodes)]
    connection.flush()
    ready()
    began = time.monotonic()
    connection.send(b"".join(frames))
    connection.flush()
    print(json.dumps({"began_s": began}), flush=True)


class NodeContent:
    """The content of one node: some digests are on all nodes, the rest is random."""

    def __init__(self, number: int, each: int) -> None:
        drawn = random.Random(number).sample(range(ON_ALL, DIGESTS), each - ON_ALL)
        digests = [digest(one) for one in [*range(ON_ALL), *drawn]]
        checksum = 0
        for one in digests:
            checksum ^= int(one[7:23], 16)
        self.digests = digests
        self.inventory = Inventory(
            digests=each, digest_checksum=f"{checksum:016x}", tags=0, tag_checksum="0" * 16
        )


async def serve(port: int, nodes: int, each: int) -> None:
    """Nodes that answer routers' snapshot requests, and send heartbeats when a router starts."""
    client = await nats.connect(f"nats://127.0.0.1:{port}", pending_size=64 << 20)
    beats = [heartbeat(number, 0, NodeContent(number, each).inventory) for number in range(nodes)]
    connection = RawNatsConnection(port)

    async def answer(message: Msg) -> None:
        number = int(message.subject.rpartition(".n")[2])
        node = NodeContent(number, each)
        content = ",".join([f'"{one}":1048576' for one in node.digests])
        head = f'{{"node":"n{number}","incarnation":1,"sequence":0,"chunk":0,"chunks":1,'
        payload = f'{head}"inventory":{node.inventory.model_dump_json()},"content":{{{content}}}}}'
        await client.publish(message.reply, payload.encode())

    async def greet(_: Msg) -> None:
        await asyncio.to_thread(connection.send, b"".join(beats))

    await client.subscribe(subjects.ALL_SNAPSHOTS, cb=answer)
    await client.subscribe(subjects.HELLO, cb=greet)
    await client.flush()
    print("ready", flush=True)
    while True:
        await asyncio.sleep(10)
        await greet(Msg(client))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["publish", "announce", "serve"])
    parser.add_argument("numbers", type=int, nargs="+")
    asked = parser.parse_args()
    match asked.mode:
        case "publish":
            publish_deltas(*asked.numbers)
        case "announce":
            announce(*asked.numbers)
        case _:
            asyncio.run(serve(*asked.numbers))
