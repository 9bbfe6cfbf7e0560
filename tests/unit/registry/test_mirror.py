"""Which manifest is served, from where, and why not."""

import asyncio
import json

import pytest

from heliograph_registry.mirror.domain.manifest import Manifest
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import LOCAL, FromPeer, Source
from heliograph_registry.mirror.domain.target import ManifestByDigest, ManifestByTag, Name
from heliograph_registry.mirror.errors import NotServed
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.filters import ImageFilter
from tests.support.fakes.cluster import FIRST_BYTE_S, NAME, FakeCluster, FakeMirror, blob, delivered

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

LAYER = b"layer"


def manifest_of(*layers: bytes) -> bytes:
    entries = [{"digest": digest_of(layer), "size": len(layer)} for layer in layers]
    return json.dumps({"schemaVersion": 2, "config": {}, "layers": entries}).encode()


OLD, NEW = manifest_of(), manifest_of(LAYER)
OLD_DIGEST, NEW_DIGEST = digest_of(OLD), digest_of(NEW)
TAG = "reg.test/app:1"
BY_TAG = ManifestByTag(NAME, "1")


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def by_digest(digest: Digest = NEW_DIGEST) -> ManifestByDigest:
    return ManifestByDigest(NAME, digest)


async def served(
    here: FakeMirror,
    target: ManifestByTag | ManifestByDigest | None = None,
    *,
    from_peer: bool = False,
    head: bool = False,
) -> tuple[Manifest, Source]:
    return await here.mirror.manifest(target or by_digest(), from_peer=from_peer, head=head)


async def refused(
    here: FakeMirror, target: ManifestByTag | ManifestByDigest | None = None, *, from_peer: bool = False
) -> Reason:
    with pytest.raises(NotServed) as raised:
        await served(here, target, from_peer=from_peer)
    return raised.value.reason


# --- by digest ---------------------------------------------------------------------------------------


async def test_an_own_manifest_is_served_without_asking_anybody(cluster: FakeCluster) -> None:
    cluster.content.put(NEW)
    async with cluster.mirror() as here:
        for from_peer in (False, True):
            manifest, source = await served(here, from_peer=from_peer, head=True)
            assert (manifest.body, source) == (NEW, LOCAL)
    assert cluster.resolver.queries == []
    assert cluster.leaks() == []


async def test_an_own_manifest_is_read_once(cluster: FakeCluster) -> None:
    digest = cluster.content.put(NEW)
    async with cluster.mirror() as here:
        await served(here)
        cluster.content.break_reads(digest)
        assert (await served(here))[0].body == NEW


async def test_a_peers_manifest_is_served_and_fetched_once(cluster: FakeCluster) -> None:
    peer = cluster.node("a", NEW)
    async with cluster.mirror() as here:
        for _ in range(2):
            manifest, source = await served(here)
            assert (manifest.body, source) == (NEW, FromPeer("a"))
    assert len(peer.asked) == 1
    assert cluster.leaks() == []


async def test_what_came_from_a_peer_is_own_content_once_it_is_in_the_store(cluster: FakeCluster) -> None:
    cluster.node("a", NEW)
    async with cluster.mirror() as here:
        await served(here)
        assert await refused(here, from_peer=True) is Reason.NOT_LOCAL
        cluster.content.put(NEW)
        assert (await served(here, from_peer=True))[1] == LOCAL


async def test_a_peer_is_not_served_from_other_peers(cluster: FakeCluster) -> None:
    peer = cluster.node("a", NEW)
    async with cluster.mirror() as here:
        assert await refused(here, from_peer=True) is Reason.NOT_LOCAL
    assert (peer.asked, cluster.resolver.queries) == ([], [])


async def test_what_nobody_holds_is_not_found(cluster: FakeCluster) -> None:
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.NOT_FOUND


async def test_a_router_without_the_whole_picture_does_not_say_not_found(cluster: FakeCluster) -> None:
    cluster.router.synced = False
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.RESOLVER_UNAVAILABLE


async def test_no_router_is_told_apart_from_nobody(cluster: FakeCluster) -> None:
    cluster.router.down = "UNAVAILABLE"
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.RESOLVER_UNAVAILABLE


@pytest.mark.parametrize("wrong", [OLD, b"", NEW[:-1]])
async def test_an_own_manifest_of_another_digest_is_fetched_from_a_peer(
    cluster: FakeCluster, wrong: bytes
) -> None:
    cluster.content.put(wrong, NEW_DIGEST)
    cluster.node("a", NEW)
    async with cluster.mirror() as here:
        assert (await served(here))[1] == FromPeer("a")
        assert await refused(here, from_peer=True) is Reason.NOT_LOCAL
    assert cluster.leaks() == []


async def test_an_unreadable_manifest_is_fetched_from_a_peer(cluster: FakeCluster) -> None:
    cluster.content.break_reads(cluster.content.put(NEW))
    cluster.node("a", NEW)
    async with cluster.mirror() as here:
        assert (await served(here))[1] == FromPeer("a")
    assert cluster.leaks() == []


async def test_own_content_of_more_than_4_mib_is_no_manifest(cluster: FakeCluster) -> None:
    digest = cluster.content.put(bytes((4 << 20) + 1))
    cluster.node("a", bytes((4 << 20) + 1))
    async with cluster.mirror() as here:
        assert await refused(here, by_digest(digest)) is Reason.NOT_A_MANIFEST
    assert cluster.leaks() == []


async def test_a_peers_content_of_more_than_4_mib_is_no_manifest(cluster: FakeCluster) -> None:
    large = bytes((4 << 20) + 1)
    cluster.node("a", large)
    gone = cluster.node("b", large)
    gone.content.clear()
    async with cluster.mirror() as here:
        assert await refused(here, by_digest(digest_of(large))) is Reason.NOT_A_MANIFEST
        assert here.peering.asked_last() == {}
    assert cluster.leaks() == []


async def test_a_wrong_manifest_is_not_served_from_a_peer(cluster: FakeCluster) -> None:
    cluster.node("a", NEW).put(OLD, NEW_DIGEST)
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.PEERS_FAILED
    assert cluster.leaks() == []


async def test_no_request_takes_longer_than_a_first_byte_may(cluster: FakeCluster) -> None:
    cluster.node("a", NEW).hangs = True
    clock = asyncio.get_running_loop().time
    async with cluster.mirror() as here:
        began = clock()
        assert await refused(here) is Reason.TIMEOUT
        assert clock() - began == pytest.approx(FIRST_BYTE_S, abs=0.001)


# --- by tag ------------------------------------------------------------------------------------------


async def test_the_router_knows_the_newest_digest_of_a_tag(cluster: FakeCluster) -> None:
    cluster.facts.tags[TAG] = cluster.content.put(OLD)
    cluster.announce(cluster.node("a", LAYER), NEW, TAG)
    async with cluster.mirror() as here:
        manifest, source = await served(here, BY_TAG)
        assert (manifest.body, source) == (NEW, FromPeer("a"))


async def test_own_content_is_served_by_the_digest_that_the_router_names(cluster: FakeCluster) -> None:
    peer = cluster.node("a")
    cluster.announce(peer, NEW, TAG)
    cluster.content.put(NEW)
    cluster.content.put(LAYER)
    async with cluster.mirror() as here:
        for _ in range(2):
            assert (await served(here, BY_TAG, head=True))[1] == LOCAL
    assert peer.asked == []
    assert [query.keys for query in cluster.resolver.queries] == [(TAG,), (TAG,)]


async def test_a_tag_is_resolved_with_one_question_and_its_content_with_another(cluster: FakeCluster) -> None:
    cluster.announce(cluster.node("a", LAYER), NEW, TAG)
    async with cluster.mirror() as here:
        await served(here, BY_TAG, head=True)
    assert [query.keys for query in cluster.resolver.queries] == [(TAG,), (digest_of(LAYER),)]


@pytest.mark.parametrize("trouble", ["down", "hangs", "unsynced", "unknown"])
async def test_the_state_file_answers_where_the_router_cannot(cluster: FakeCluster, trouble: str) -> None:
    cluster.facts.tags[TAG] = cluster.content.put(NEW)
    cluster.content.put(LAYER)
    cluster.router.down = "UNAVAILABLE" if trouble == "down" else ""
    cluster.router.synced = trouble != "unsynced"
    cluster.router.answers_after_s = 10 if trouble == "hangs" else 0
    async with cluster.mirror() as here:
        manifest, source = await served(here, BY_TAG)
        assert (manifest.body, source) == (NEW, LOCAL)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("down", Reason.RESOLVER_UNAVAILABLE),
        ("hangs", Reason.RESOLVER_UNAVAILABLE),
        ("unsynced", Reason.RESOLVER_UNAVAILABLE),
        ("unknown", Reason.NOT_FOUND),
    ],
)
async def test_without_a_state_file_the_trouble_is_told(
    cluster: FakeCluster, trouble: str, reason: Reason
) -> None:
    cluster.router.down = "UNAVAILABLE" if trouble == "down" else ""
    cluster.router.synced = trouble != "unsynced"
    cluster.router.answers_after_s = 10 if trouble == "hangs" else 0
    async with cluster.mirror() as here:
        assert await refused(here, BY_TAG) is reason


async def test_a_peer_is_told_of_own_tags_only(cluster: FakeCluster) -> None:
    cluster.announce(cluster.node("a"), NEW, TAG)
    async with cluster.mirror() as here:
        assert await refused(here, BY_TAG, from_peer=True) is Reason.NOT_LOCAL
        cluster.facts.tags[TAG] = OLD_DIGEST
        assert await refused(here, BY_TAG, from_peer=True) is Reason.NOT_LOCAL  # its manifest is not here
        cluster.content.put(OLD)
        assert (await served(here, BY_TAG, from_peer=True))[0].body == OLD
    assert cluster.resolver.queries == []


async def test_a_tag_without_a_registry_is_not_served(cluster: FakeCluster) -> None:
    async with cluster.mirror() as here:
        nameless = ManifestByTag(Name(None, "app"), "1")
        assert await refused(here, nameless) is Reason.NO_REGISTRY


# --- what is mirrored at all ----------------------------------------------------------------------------


async def test_excluded_images_are_not_served_to_anybody(cluster: FakeCluster) -> None:
    cluster.content.put(NEW)
    cluster.facts.tags[TAG] = NEW_DIGEST
    async with cluster.mirror(images=ImageFilter(excluded=["reg.test/app"])) as here:
        for from_peer in (False, True):
            for target in (BY_TAG, by_digest()):
                assert await refused(here, target, from_peer=from_peer) is Reason.FILTERED
            with pytest.raises(NotServed) as raised:
                await here.mirror.blob(blob(NEW_DIGEST), None, from_peer=from_peer, head=False)
            assert raised.value.reason is Reason.FILTERED
    assert cluster.resolver.queries == []


async def test_an_excluded_tag_leaves_its_content_to_those_who_ask_by_digest(cluster: FakeCluster) -> None:
    cluster.content.put(NEW)
    cluster.facts.tags[TAG] = NEW_DIGEST
    async with cluster.mirror(images=ImageFilter(excluded=[":1$"])) as here:
        assert await refused(here, BY_TAG) is Reason.FILTERED
        assert (await served(here))[1] == LOCAL


async def test_who_names_no_registry_is_served_by_digest(cluster: FakeCluster) -> None:
    cluster.content.put(NEW)
    async with cluster.mirror(images=ImageFilter(mirrored=["other.test"])) as here:
        assert (await served(here, ManifestByDigest(Name(None, "app"), NEW_DIGEST)))[1] == LOCAL
        assert await refused(here) is Reason.FILTERED


# --- what is expected next ------------------------------------------------------------------------------


async def test_layers_are_resolved_ahead_for_a_client(cluster: FakeCluster) -> None:
    cluster.node("a", NEW, LAYER)
    async with cluster.mirror() as here:
        await served(here)
        answer = await here.mirror.blob(blob(digest_of(LAYER)), None, from_peer=False, head=False)
        assert await delivered(answer) == LAYER
    assert [query.keys for query in cluster.resolver.queries] == [(NEW_DIGEST,), (digest_of(LAYER),)]


@pytest.mark.parametrize("who", ["a peer", "a HEAD"])
async def test_nothing_is_resolved_ahead_for_peers_and_heads(cluster: FakeCluster, who: str) -> None:
    cluster.content.put(NEW)
    cluster.node("a", LAYER)
    async with cluster.mirror() as here:
        await served(here, from_peer=who == "a peer", head=who == "a HEAD")
        await asyncio.sleep(0.1)
    assert cluster.resolver.queries == []


# --- blobs by way of the mirror ---------------------------------------------------------------------------


async def test_a_head_moves_no_body(cluster: FakeCluster) -> None:
    peer = cluster.node("a", LAYER)
    async with cluster.mirror() as here:
        answer = await here.mirror.blob(blob(digest_of(LAYER)), None, from_peer=False, head=True)
        assert (answer.span.size_bytes, answer.body) == (len(LAYER), None)
        answer.close()
    assert len(peer.asked) == 1
    assert cluster.leaks() == []


async def test_what_a_client_of_this_process_has_hashed_may_be_relayed_again(cluster: FakeCluster) -> None:
    cluster.node("a", LAYER)
    cluster.spool.room_bytes = 0
    async with cluster.mirror() as here:
        for _ in range(2):
            answer = await here.mirror.blob(blob(digest_of(LAYER)), None, from_peer=False, head=False)
            assert await delivered(answer) == LAYER
            here.mirror.mark_verified([digest_of(LAYER)])
