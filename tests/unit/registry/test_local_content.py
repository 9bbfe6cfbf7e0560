"""Blobs of this node that cannot be served: what clients and peers get, and what the indexer is told."""

import errno

import pytest

from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import FromPeer
from heliograph_registry.mirror.domain.target import ManifestByDigest
from heliograph_registry.mirror.domain.unservable import UnservableBlobs
from heliograph_registry.mirror.errors import NotServed, StreamBroken
from heliograph_registry.mirror.local_content import LocalContent
from heliograph_shared.digest import digest_of
from tests.support.fakes.cluster import NAME, FakeCluster, blob, delivered
from tests.support.fakes.content import MemoryContent
from tests.support.fakes.outlet import MemoryOutlet

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

DATA = bytes(range(256)) * 1000
DIGEST = digest_of(DATA)
MANIFEST = b'{"schemaVersion": 2, "config": {}, "layers": []}'


@pytest.mark.parametrize("wanted", [None, ByteRange(0, None), ByteRange(1000, 2000)])
async def test_a_file_that_cannot_be_read_at_all_is_replaced_by_a_peer(wanted: ByteRange | None) -> None:
    cluster = FakeCluster()
    cluster.node("peer", DATA)
    cluster.content.put(DATA)
    cluster.content.break_reads(DIGEST)
    async with cluster.mirror() as here:
        for _ in range(2):
            answer = await here.blobs.get(blob(DIGEST), wanted, from_peer=False)
            assert answer.source == FromPeer("peer")
            here.blobs.mark_verified(DIGEST)
            answer.close()
    assert cluster.content.opened[DIGEST] == 1
    assert cluster.local.unservable() == [DIGEST]


async def test_without_a_peer_it_is_a_404_from_the_first_request_on() -> None:
    cluster = FakeCluster()
    cluster.content.put(DATA)
    cluster.content.break_reads(DIGEST)
    async with cluster.mirror() as here:
        for from_peer, reason in ((False, Reason.NOT_FOUND), (True, Reason.NOT_LOCAL)):
            with pytest.raises(NotServed) as raised:
                await here.blobs.get(blob(DIGEST), None, from_peer=from_peer)
            assert raised.value.reason is reason
    assert cluster.leaks() == []


async def test_a_file_that_fails_in_the_middle_is_resumed_from_a_peer() -> None:
    """As containerd does it: the rest is asked for after the answer has ended."""
    cluster = FakeCluster()
    cluster.node("peer", DATA)
    cluster.content.put(DATA)
    cluster.content.break_reads(DIGEST, at=150_000)
    outlet = MemoryOutlet()
    async with cluster.mirror() as here:
        answer = await here.blobs.get(blob(DIGEST), ByteRange(0, None), from_peer=False)
        assert answer.body is not None
        with pytest.raises(StreamBroken):
            await answer.body.deliver(outlet)
        answer.close()
        rest = ByteRange(outlet.sent_bytes, None)
        assert (
            bytes(outlet.received)
            + await delivered(await here.blobs.get(blob(DIGEST), rest, from_peer=False))
            == DATA
        )
    assert cluster.content.opened[DIGEST] == 1


async def test_without_a_peer_a_file_that_fails_in_the_middle_ends_one_more_answer_and_is_then_a_404() -> (
    None
):
    """A pull of containerd 2.1 fails if it gets a 404 right after a 206."""
    cluster = FakeCluster()
    cluster.content.put(DATA)
    cluster.content.break_reads(DIGEST, at=1)
    async with cluster.mirror() as here:
        for _ in range(2):
            with pytest.raises(StreamBroken) as raised:
                await delivered(await here.blobs.get(blob(DIGEST), ByteRange(0, None), from_peer=False))
            assert raised.value.sent_bytes <= 1
        with pytest.raises(NotServed):
            await here.blobs.get(blob(DIGEST), ByteRange(0, None), from_peer=False)
    assert cluster.content.opened[DIGEST] == 1


async def test_a_manifest_that_cannot_be_read_comes_from_a_peer_and_is_not_opened_again() -> None:
    cluster = FakeCluster()
    cluster.node("peer", MANIFEST)
    digest = cluster.content.put(MANIFEST)
    cluster.content.break_reads(digest)
    async with cluster.mirror() as here:
        for _ in range(2):
            _, source = await here.mirror.manifest(
                ManifestByDigest(NAME, digest), from_peer=False, head=False
            )
            assert source == FromPeer("peer")
    assert cluster.content.opened[digest] == 1
    assert cluster.local.unservable() == [digest]


async def test_what_a_peer_asked_for_in_vain_is_told_until_it_is_there() -> None:
    cluster = FakeCluster()
    target = ManifestByDigest(NAME, digest_of(MANIFEST))
    async with cluster.mirror() as here:
        for asking in (
            here.blobs.get(blob(DIGEST), None, from_peer=True),
            here.blobs.head(blob(DIGEST), from_peer=True),
            here.mirror.manifest(target, from_peer=True, head=False),
        ):
            with pytest.raises(NotServed):
                await asking
        with pytest.raises(NotServed):
            await here.blobs.get(blob(digest_of(b"a client's")), None, from_peer=False)
        assert cluster.local.unservable() == sorted([DIGEST, target.digest])
        cluster.content.put(DATA)
        assert cluster.local.unservable() == [target.digest]
        cluster.content.remove(DIGEST)
        assert cluster.local.unservable() == [target.digest]


async def test_an_empty_file_that_a_peer_asked_for_is_told() -> None:
    cluster = FakeCluster()
    cluster.content.put(b"", DIGEST)
    async with cluster.mirror() as here:
        with pytest.raises(NotServed):
            await here.blobs.get(blob(DIGEST), None, from_peer=True)
    assert cluster.local.unservable() == [DIGEST]


async def test_a_blob_that_could_not_be_read_is_tried_again_after_ten_minutes() -> None:
    now, content = [0.0], MemoryContent()
    local = LocalContent(content, lambda: now[0])
    content.put(DATA)
    local.unreadable(DIGEST, "Input/output error")
    assert (await local.open(DIGEST), local.lacks(DIGEST)) == (None, True)
    now[0] = 601.0
    opened = await local.open(DIGEST)
    assert opened is not None
    opened.close()
    assert (local.lacks(DIGEST), local.unservable()) == (False, [])


async def test_a_blob_is_not_to_blame_if_the_process_has_no_descriptor_left() -> None:
    local = LocalContent(MemoryContent())
    local.unreadable(DIGEST, "Too many open files", errno.EMFILE)
    assert local.unservable() == []


async def test_what_is_remembered_is_bounded() -> None:
    blobs = UnservableBlobs(lambda: 0.0)
    for number in range(1000):
        blobs.add_unreadable(digest_of(b"%d" % number))
        blobs.add_refused(digest_of(b"absent %d" % number), absent=True)
    assert len(blobs.all(lambda _: True)) == 512
