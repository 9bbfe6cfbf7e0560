"""A measured pull against a data port that behaves as it is told."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pytest
import structlog

from heliograph_registry.debug.domain.pull_result import PullResult, State
from heliograph_registry.debug.errors import PullInterrupted, PullTestRefused
from heliograph_registry.debug.pull_test import PullTests
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import FromPeer, Source
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.reference import Reference, parse_reference
from tests.support.waiting import eventually

CONFIG, LAYER = b"config", b"layer" * 1000
MANIFEST = json.dumps(
    {
        "config": {"digest": digest_of(CONFIG), "size": len(CONFIG)},
        "layers": [{"digest": digest_of(LAYER), "size": len(LAYER)}],
    }
).encode()
REFERENCE = parse_reference("reg.test/app:1")
NODE_1 = FromPeer("node-1")


@dataclass
class PullAnswer:
    status: int = 404
    body: bytes = b""
    source: Source = NODE_1
    reason: Reason | None = Reason.NOT_FOUND
    digest: str = ""
    length: int | None = None
    position: int = 0

    @property
    def complete(self) -> bool:
        return self.position == (len(self.body) if self.length is None else self.length)

    def read(self, buffer: memoryview) -> int:
        piece = self.body[self.position : self.position + len(buffer)]
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)


@dataclass(eq=False)
class Port:
    """Serves `content` by digest; `changes` does something else for a path that ends so."""

    content: dict[str, bytes]
    changes: dict[str, Callable[[Mapping[str, str]], PullAnswer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def open(self) -> "Port":
        return self

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> PullAnswer:
        self.asked.append(f"{method} {path}")
        name = path.partition("?")[0].rpartition("/")[2]
        if name in self.changes:
            return self.changes[name](headers)
        if method == "HEAD":
            return (
                PullAnswer(200, digest=digest_of(MANIFEST))
                if MANIFEST in self.content.values()
                else PullAnswer()
            )
        body = self.content.get(name)
        return PullAnswer() if body is None else PullAnswer(200, body, digest=name)

    def abort(self) -> None: ...

    def close(self) -> None: ...


def holding(*contents: bytes) -> Port:
    return Port({digest_of(data): data for data in contents})


async def measured(
    port: Port, proven: list[Digest] | None = None, reference: Reference = REFERENCE
) -> PullResult:
    def keep(digests: Iterable[Digest]) -> None:
        if proven is not None:
            proven.extend(digests)

    pull_tests = PullTests(port, architecture="amd64", proven=keep)
    measurement = pull_tests.start(reference)
    await eventually(lambda: measurement.over, 20)
    return measurement


async def test_every_part_is_pulled_as_containerd_does() -> None:
    port, proven = holding(MANIFEST, CONFIG, LAYER), list[Digest]()
    result = await measured(port, proven)
    assert result.state is State.DONE
    assert result.sentence.startswith("All 3 parts came from the cluster: 5.")
    assert result.sentence.endswith("all from node-1.")
    assert [(part.part.kind, part.state, part.received) for part in result.parts] == [
        ("manifest", State.DONE, len(MANIFEST)),
        ("config", State.DONE, len(CONFIG)),
        ("layer", State.DONE, len(LAYER)),
    ]
    assert port.asked[:2] == [
        "HEAD /v2/app/manifests/1?ns=reg.test",
        f"GET /v2/app/manifests/{digest_of(MANIFEST)}?ns=reg.test",
    ]
    await eventually(lambda: set(proven) == {digest_of(data) for data in (MANIFEST, CONFIG, LAYER)})


async def test_an_image_by_digest_needs_no_tag() -> None:
    port = holding(MANIFEST, CONFIG, LAYER)
    result = await measured(port, reference=parse_reference(f"reg.test/app@{digest_of(MANIFEST)}"))
    assert result.state is State.DONE
    assert not any(asked.startswith("HEAD") for asked in port.asked)


async def test_what_nobody_has_would_go_upstream() -> None:
    result = await measured(holding())
    assert result.state is State.UPSTREAM
    assert "upstream for all of it: no node that can be reached has it (not-found)" in result.sentence


async def test_a_layer_that_nobody_has_is_told_apart() -> None:
    result = await measured(holding(MANIFEST, CONFIG))
    assert result.state is State.UPSTREAM
    assert "2 parts came from the cluster" in result.sentence
    assert "for the other 1 containerd would go upstream" in result.sentence


async def test_a_body_that_ends_early_is_resumed() -> None:
    def halves(headers: Mapping[str, str]) -> PullAnswer:
        if headers.get("range") == "bytes=1000-":
            return PullAnswer(206, LAYER[1000:])
        return PullAnswer(200, LAYER[:1000], length=len(LAYER))

    port = holding(MANIFEST, CONFIG)
    port.changes[digest_of(LAYER)] = halves
    assert (await measured(port)).state is State.DONE


async def test_wrong_bytes_are_no_success() -> None:
    port, proven = holding(MANIFEST, CONFIG), list[Digest]()
    port.changes[digest_of(LAYER)] = lambda _: PullAnswer(200, b"x" * len(LAYER))
    result = await measured(port, proven)
    assert result.state is State.FAILED
    assert "another digest" in result.sentence
    await eventually(lambda: len(proven) == 2)
    assert digest_of(LAYER) not in proven


async def test_a_port_that_breaks_off_fails_the_measurement() -> None:
    def broken(_: Mapping[str, str]) -> PullAnswer:
        raise PullInterrupted("Connection refused")

    port = holding(MANIFEST, CONFIG, LAYER)
    port.changes["1"] = broken
    result = await measured(port)
    assert (result.state, result.note) == (State.FAILED, "Connection refused")


async def test_what_fails_unforeseen_leaves_the_event_loop_running() -> None:
    """The other threads read what this very loop sends: to wait for them here would be for ever."""
    served = threading.Event()
    in_time: list[bool] = []

    def unforeseen(_: Mapping[str, str]) -> PullAnswer:
        raise RuntimeError("can't start new thread")

    def waits(_: Mapping[str, str]) -> PullAnswer:
        in_time.append(served.wait(10))
        return PullAnswer(200, CONFIG)

    port = holding(MANIFEST)
    port.changes |= {digest_of(CONFIG): waits, digest_of(LAYER): unforeseen}
    with structlog.testing.capture_logs() as logged:
        result = await measured(port)
        served.set()
        await eventually(lambda: bool(in_time), 20)
    assert in_time == [True]
    assert (result.state, result.note) == (State.FAILED, "it could not be carried out, see the log")
    assert [line["reason"] for line in logged if line["log_level"] == "error"] == ["can't start new thread"]


async def test_one_at_a_time_and_it_can_be_stopped() -> None:
    class Endless(PullAnswer):
        def read(self, buffer: memoryview) -> int:
            return len(buffer)

    port = holding(MANIFEST, CONFIG)
    port.changes[digest_of(LAYER)] = lambda _: Endless(200)
    pull_tests = PullTests(port, architecture="amd64", proven=lambda _: None)
    measurement = pull_tests.start(REFERENCE)
    with pytest.raises(PullTestRefused, match=r"reg\.test/app:1"):
        pull_tests.start(REFERENCE)
    await eventually(lambda: measurement.received > 10_000, 20)
    assert "Under way" in measurement.sentence
    pull_tests.stop("as asked")
    await eventually(lambda: measurement.over, 20)
    assert measurement.state is State.STOPPED
    assert measurement.sentence.startswith("Stopped: as asked, after")
    assert pull_tests.start(REFERENCE) is not measurement
    pull_tests.stop("the test ends")
    await eventually(lambda: pull_tests.latest is not None and pull_tests.latest.over, 20)
