"""Pull tests against a fake data port."""

import json
import threading
from collections.abc import Iterable, Mapping

import pytest
import structlog

from heliograph_registry.debug.domain.pull_result import PullResult, PullState
from heliograph_registry.debug.errors import PullInterrupted, PullTestRefused
from heliograph_registry.debug.pull_test import PullTests
from heliograph_registry.mirror.domain.source import FromPeer
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.platforms import Matcher, parse_platform
from heliograph_shared.reference import Reference, parse_reference
from tests.support.fakes.data_port import MemoryDataPort, MemoryPullResponse
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


def holding(*contents: bytes) -> MemoryDataPort:
    tags = {"1": digest_of(MANIFEST)} if MANIFEST in contents else {}
    return MemoryDataPort({digest_of(data): data for data in contents}, tags, NODE_1)


async def pull_tested(
    port: MemoryDataPort, verified: list[Digest] | None = None, reference: Reference = REFERENCE
) -> PullResult:
    def keep(digests: Iterable[Digest]) -> None:
        if verified is not None:
            verified.extend(digests)

    pull_tests = PullTests(port, platform=Matcher(parse_platform("linux/amd64")), on_verified=keep)
    result = pull_tests.start(reference)
    await eventually(lambda: result.over, 20)
    return result


async def test_every_part_is_pulled_as_containerd_does() -> None:
    port, verified = holding(MANIFEST, CONFIG, LAYER), list[Digest]()
    result = await pull_tested(port, verified)
    assert result.state is PullState.DONE
    for detail in ("3 parts", "5.", "KiB", "all from node-1"):
        assert detail in result.sentence
    assert [(part.part.kind, part.state, part.received_bytes) for part in result.parts] == [
        ("manifest", PullState.DONE, len(MANIFEST)),
        ("config", PullState.DONE, len(CONFIG)),
        ("layer", PullState.DONE, len(LAYER)),
    ]
    assert port.requested[:2] == [
        "HEAD /v2/app/manifests/1?ns=reg.test",
        f"GET /v2/app/manifests/{digest_of(MANIFEST)}?ns=reg.test",
    ]
    await eventually(lambda: set(verified) == {digest_of(data) for data in (MANIFEST, CONFIG, LAYER)})


async def test_an_image_by_digest_needs_no_tag() -> None:
    port = holding(MANIFEST, CONFIG, LAYER)
    result = await pull_tested(port, reference=parse_reference(f"reg.test/app@{digest_of(MANIFEST)}"))
    assert result.state is PullState.DONE
    assert not any(line.startswith("HEAD") for line in port.requested)


async def test_an_image_that_no_node_has_would_go_upstream() -> None:
    result = await pull_tested(holding())
    assert result.state is PullState.UPSTREAM
    assert result.parts == []
    assert "(not-found)" in result.note
    assert f"all of it from upstream, because {result.note}" in result.sentence


async def test_a_layer_that_no_node_has_would_alone_go_upstream() -> None:
    result = await pull_tested(holding(MANIFEST, CONFIG))
    assert result.state is PullState.UPSTREAM
    states = [part.state for part in result.parts]
    assert states == [PullState.DONE, PullState.DONE, PullState.UPSTREAM]
    assert "2 parts" in result.sentence
    assert "the other 1 from upstream" in result.sentence


async def test_a_body_that_ends_early_is_resumed() -> None:
    def halves(headers: Mapping[str, str]) -> MemoryPullResponse:
        if headers.get("range") == "bytes=1000-":
            return MemoryPullResponse(206, LAYER[1000:])
        return MemoryPullResponse(200, LAYER[:1000], length=len(LAYER))

    port = holding(MANIFEST, CONFIG)
    port.changes[digest_of(LAYER)] = halves
    assert (await pull_tested(port)).state is PullState.DONE


async def test_wrong_bytes_fail_the_pull_test() -> None:
    port, verified = holding(MANIFEST, CONFIG), list[Digest]()
    port.changes[digest_of(LAYER)] = lambda _: MemoryPullResponse(200, b"x" * len(LAYER))
    result = await pull_tested(port, verified)
    assert result.state is PullState.FAILED
    assert "another digest" in result.note
    assert result.note in result.sentence
    await eventually(lambda: len(verified) == 2)
    assert digest_of(LAYER) not in verified


async def test_a_data_port_that_does_not_answer_fails_the_pull_test() -> None:
    def broken(_: Mapping[str, str]) -> MemoryPullResponse:
        raise PullInterrupted("Connection refused")

    port = holding(MANIFEST, CONFIG, LAYER)
    port.changes["1"] = broken
    result = await pull_tested(port)
    assert (result.state, result.note) == (PullState.FAILED, "Connection refused")


async def test_an_unexpected_error_does_not_block_the_event_loop() -> None:
    """The other threads read what this event loop sends, so waiting for them in it would never end."""
    served = threading.Event()
    in_time: list[bool] = []

    def fails(_: Mapping[str, str]) -> MemoryPullResponse:
        raise RuntimeError("can't start new thread")

    def waits(_: Mapping[str, str]) -> MemoryPullResponse:
        in_time.append(served.wait(10))
        return MemoryPullResponse(200, CONFIG)

    port = holding(MANIFEST)
    port.changes |= {digest_of(CONFIG): waits, digest_of(LAYER): fails}
    with structlog.testing.capture_logs() as logged:
        result = await pull_tested(port)
        served.set()
        await eventually(lambda: bool(in_time), 20)
    assert in_time == [True]
    assert (result.state, result.note) == (PullState.FAILED, "an unexpected error, see the log")
    assert [line["reason"] for line in logged if line["log_level"] == "error"] == ["can't start new thread"]


async def test_one_pull_test_runs_at_a_time_and_it_can_be_stopped() -> None:
    class Endless(MemoryPullResponse):
        def read(self, buffer: memoryview) -> int:
            return len(buffer)

    port = holding(MANIFEST, CONFIG)
    port.changes[digest_of(LAYER)] = lambda _: Endless(200)
    pull_tests = PullTests(port, platform=Matcher(parse_platform("linux/amd64")), on_verified=lambda _: None)
    result = pull_tests.start(REFERENCE)
    with pytest.raises(PullTestRefused, match=r"reg\.test/app:1"):
        pull_tests.start(REFERENCE)
    await eventually(lambda: result.received_bytes > 10_000, 20)
    assert not result.over
    assert result.sentence.startswith("Running")
    pull_tests.stop("as requested")
    await eventually(lambda: result.over, 20)
    assert result.state is PullState.STOPPED
    assert result.note == "as requested"
    assert result.sentence.startswith("Stopped after")
    assert result.note in result.sentence
    assert pull_tests.start(REFERENCE) is not result
    pull_tests.stop("the test ends")
    await eventually(lambda: pull_tests.latest is not None and pull_tests.latest.over, 20)
