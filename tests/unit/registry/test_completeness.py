"""A tag is answered only if the cluster holds what this node needs of its image; else upstream decides."""

import asyncio
import json

import pytest

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import LOCAL, FromPeer, Source
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag, Name
from heliograph_registry.mirror.errors import Busy, NotServed
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.image import CONFIG, DOCKER_SCHEMA_1, MANIFEST
from tests.support.fakes.cluster import FIRST_BYTE_S, NAME, FakeCluster, FakeMirror, blob, delivered
from tests.support.fakes.peers import MemoryPeer
from tests.unit.registry.made_images import Made, descriptor, index_of, manifest_json

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

TAG = "reg.test/app:1"
BY_TAG = ManifestByTag(NAME, "1")
IN_PATH = Name("reg.test", "app", in_path=True)
ATTESTATION = "unknown/unknown"


AMD64, ARM64 = Made("linux/amd64"), Made("linux/arm64")
BOTH = index_of(
    ("linux/arm64", ARM64.manifest), (ATTESTATION, b"attestation"), ("linux/amd64", AMD64.manifest)
)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def tagged(cluster: FakeCluster, root: bytes, *blobs: bytes, node: str = "a") -> MemoryPeer:
    """Another node has the tag for `root`, and these blobs."""
    peer = cluster.node(node, *blobs)
    cluster.announce(peer, root, TAG)
    return peer


async def answered(
    here: FakeMirror, target: ManifestByTag | ManifestByDigest = BY_TAG, *, head: bool = True
) -> tuple[Digest, Source]:
    manifest, source = await here.mirror.manifest(target, from_peer=False, head=head)
    return manifest.digest, source


async def refused(here: FakeMirror, target: ManifestByTag | ManifestByDigest = BY_TAG) -> Reason:
    with pytest.raises(NotServed) as raised:
        await answered(here, target)
    return raised.value.reason


# --- what is complete ----------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [True, False])
async def test_a_tag_is_answered_if_peers_hold_what_this_platform_needs(
    cluster: FakeCluster, *, head: bool
) -> None:
    tagged(cluster, BOTH, *AMD64.blobs.values())
    async with cluster.mirror() as here:
        assert await answered(here, head=head) == (digest_of(BOTH), FromPeer("a"))
    assert cluster.leaks() == []


async def test_the_parts_may_be_on_different_nodes_and_here(cluster: FakeCluster) -> None:
    tagged(cluster, BOTH, AMD64.blobs["layer-1"])
    cluster.node("b", AMD64.manifest, AMD64.blobs["config"])
    cluster.content.put(AMD64.blobs["layer-2"])
    async with cluster.mirror() as here:
        assert (await answered(here))[0] == digest_of(BOTH)


async def test_one_call_resolves_all_that_is_needed_and_the_pull_needs_no_other(cluster: FakeCluster) -> None:
    tagged(cluster, BOTH, *AMD64.blobs.values())
    parts = tuple(digest_of(AMD64.blobs[name]) for name in ("config", "layer-1", "layer-2"))
    async with cluster.mirror() as here:
        await answered(here)
        asked = [query.keys for query in cluster.resolver.queries]
        assert asked == [(TAG,), (AMD64.digest,), parts]
        for digest in (digest_of(BOTH), AMD64.digest):
            await answered(here, ManifestByDigest(NAME, digest), head=False)
        for digest in parts:
            answer = await here.mirror.blob(blob(digest), None, from_peer=False, head=False)
            await delivered(answer)
        assert [query.keys for query in cluster.resolver.queries] == asked


async def test_a_complete_image_of_this_node_needs_only_the_tag_to_be_resolved(cluster: FakeCluster) -> None:
    for data in (BOTH, *AMD64.blobs.values()):
        cluster.content.put(data)
    cluster.facts.tags[TAG] = digest_of(BOTH)
    async with cluster.mirror() as here:
        assert await answered(here) == (digest_of(BOTH), LOCAL)
        cluster.router.down = "UNAVAILABLE"
        assert await answered(here) == (digest_of(BOTH), LOCAL)
    assert [query.keys for query in cluster.resolver.queries] == [(TAG,), (TAG,)]


@pytest.mark.parametrize("missing", ["manifest", "config", "layer-1", "layer-2"])
@pytest.mark.parametrize("indexed", [True, False])
async def test_a_tag_is_left_to_upstream_if_a_part_is_nowhere(
    cluster: FakeCluster, missing: str, *, indexed: bool
) -> None:
    if missing == "manifest" and not indexed:
        return
    tagged(cluster, BOTH if indexed else AMD64.manifest, *AMD64.without(missing), *ARM64.blobs.values())
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.INCOMPLETE
    assert cluster.leaks() == []


@pytest.mark.parametrize("missing", ["manifest", "config", "layer-2"])
async def test_an_own_tag_is_left_to_upstream_if_a_part_is_nowhere(
    cluster: FakeCluster, missing: str
) -> None:
    cluster.facts.tags[TAG] = cluster.content.put(BOTH)
    for data in AMD64.without(missing):
        cluster.content.put(data)
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.INCOMPLETE
        cluster.node("a", AMD64.blobs[missing])
        assert await answered(here) == (digest_of(BOTH), LOCAL)


async def test_a_node_of_another_platform_needs_other_parts(cluster: FakeCluster) -> None:
    tagged(cluster, BOTH, *AMD64.blobs.values())
    async with cluster.mirror(platform="linux/arm64") as here:
        assert await refused(here) is Reason.INCOMPLETE


async def test_schema_1_does_not_tell_what_is_needed(cluster: FakeCluster) -> None:
    tagged(cluster, json.dumps({"schemaVersion": 1, "fsLayers": [], "mediaType": DOCKER_SCHEMA_1}).encode())
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.INCOMPLETE


# --- whose platform it is ---------------------------------------------------------------------------------


async def test_an_index_without_this_platform_is_left_to_upstream(cluster: FakeCluster) -> None:
    root = index_of(("linux/arm64", ARM64.manifest), (ATTESTATION, AMD64.manifest))
    tagged(cluster, root, *AMD64.blobs.values(), *ARM64.blobs.values())
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.OTHER_PLATFORM


@pytest.mark.parametrize("where", ["here", "at a peer"])
async def test_an_image_without_an_index_is_for_the_platform_of_its_config(
    cluster: FakeCluster, where: str
) -> None:
    tagged(cluster, AMD64.manifest, *AMD64.blobs.values())
    if where == "here":
        cluster.content.put(AMD64.blobs["config"])
    for platform in ("linux/arm64", "linux/amd64"):
        async with cluster.mirror(platform=platform) as here:
            for _ in range(2):
                if platform == "linux/amd64":
                    assert (await answered(here))[0] == AMD64.digest
                else:
                    assert await refused(here) is Reason.OTHER_PLATFORM
    assert cluster.leaks() == []


async def test_a_config_is_read_once(cluster: FakeCluster) -> None:
    peer = tagged(cluster, AMD64.manifest, *AMD64.blobs.values())
    async with cluster.mirror() as here:
        for _ in range(3):
            await answered(here)
    config = digest_of(AMD64.blobs["config"])
    assert len([target for target, _ in peer.asked if isinstance(target, Blob)]) == 1
    assert len([target for target, _ in peer.asked if target == blob(config)]) == 1


@pytest.mark.parametrize("trouble", ["unreadable", "wrong bytes", "too large"])
async def test_a_broken_own_config_is_read_from_a_peer(cluster: FakeCluster, trouble: str) -> None:
    config = digest_of(AMD64.blobs["config"])
    tagged(cluster, AMD64.manifest, *AMD64.blobs.values())
    cluster.content.put(b"x" if trouble != "too large" else bytes((4 << 20) + 1), config)
    if trouble == "unreadable":
        cluster.content.break_reads(config)
    async with cluster.mirror() as here:
        assert (await answered(here))[0] == AMD64.digest
    assert cluster.leaks() == []


@pytest.mark.parametrize("config", [b"not json", bytes((4 << 20) + 1)])
async def test_a_peers_config_that_is_no_config_is_not_believed(cluster: FakeCluster, config: bytes) -> None:
    root = manifest_json(MANIFEST, config=descriptor(config, CONFIG), layers=[])
    tagged(cluster, root, config)
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.PEERS_FAILED
    assert cluster.leaks() == []


async def test_a_config_that_states_no_platform_is_left_to_upstream(cluster: FakeCluster) -> None:
    root = manifest_json(MANIFEST, config=descriptor(b"{}", CONFIG), layers=[])
    tagged(cluster, root, b"{}")
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.OTHER_PLATFORM


async def test_an_artifact_is_for_every_platform(cluster: FakeCluster) -> None:
    chart = Made("linux/amd64", config_type="application/vnd.cncf.helm.config.v1+json")
    tagged(cluster, chart.manifest, *chart.blobs.values())
    async with cluster.mirror(platform="linux/s390x") as here:
        assert (await answered(here))[0] == chart.digest


async def test_an_entry_without_a_platform_is_for_that_of_its_config(cluster: FakeCluster) -> None:
    root = index_of(("", AMD64.manifest))
    tagged(cluster, root, *AMD64.blobs.values())
    async with cluster.mirror(platform="linux/arm64") as here:
        assert await refused(here) is Reason.OTHER_PLATFORM
    async with cluster.mirror() as here:
        assert (await answered(here))[0] == digest_of(root)


@pytest.mark.parametrize(("depth", "expected"), [(2, True), (4, True), (5, False)])
async def test_indexes_within_indexes_are_followed_up_to_a_limit(
    cluster: FakeCluster, depth: int, *, expected: bool
) -> None:
    roots = [AMD64.manifest]
    for _ in range(depth):
        roots.append(index_of(("linux/arm64", b"other"), ("linux/amd64", roots[-1])))
    tagged(cluster, roots[-1], *roots, *AMD64.blobs.values())
    async with cluster.mirror() as here:
        if expected:
            assert (await answered(here))[0] == digest_of(roots[-1])
        else:
            assert await refused(here) is Reason.OTHER_PLATFORM


# --- who is asked, and when nobody answers ------------------------------------------------------------


async def test_a_peer_is_told_of_a_tag_whatever_its_platform(cluster: FakeCluster) -> None:
    cluster.facts.tags[TAG] = cluster.content.put(AMD64.manifest)
    async with cluster.mirror(platform="linux/arm64") as here:
        manifest, _ = await here.mirror.manifest(BY_TAG, from_peer=True, head=True)
    assert manifest.digest == AMD64.digest
    assert cluster.resolver.queries == []


async def test_a_request_by_digest_as_containerd_sends_it_need_not_be_complete(cluster: FakeCluster) -> None:
    tagged(cluster, BOTH)
    async with cluster.mirror() as here:
        assert (await answered(here, ManifestByDigest(NAME, digest_of(BOTH))))[0] == digest_of(BOTH)


async def test_a_router_that_fails_between_tag_and_content_is_the_reason(cluster: FakeCluster) -> None:
    cluster.facts.tags[TAG] = cluster.content.put(BOTH)
    cluster.router.down = "UNAVAILABLE"
    async with cluster.mirror() as here:
        assert await refused(here) is Reason.RESOLVER_UNAVAILABLE
        cluster.router.down, cluster.router.synced = "", False
        cluster.content.put(AMD64.manifest)
        assert await refused(here) is Reason.RESOLVER_UNAVAILABLE


@pytest.mark.parametrize("part", ["manifest", "config"])
async def test_a_peer_that_hangs_costs_no_more_than_the_first_byte_may(
    cluster: FakeCluster, part: str
) -> None:
    root = BOTH if part == "manifest" else AMD64.manifest
    tagged(cluster, root, *AMD64.without(part), AMD64.manifest)
    cluster.router.holds("slow", digest_of(AMD64.blobs[part]), 0)
    slow = cluster.node("slow", AMD64.blobs[part])
    slow.hangs = True
    if part == "manifest":
        cluster.router._holders[AMD64.digest] = {"slow": None}
    clock = asyncio.get_running_loop().time
    async with cluster.mirror() as here:
        began = clock()
        assert await refused(here) is Reason.TIMEOUT
        assert clock() - began == pytest.approx(FIRST_BYTE_S, abs=0.001)


# --- clients that take a whole image from one mirror --------------------------------------------------


@pytest.mark.parametrize("target", [ManifestByTag(IN_PATH, "1"), ManifestByDigest(IN_PATH, digest_of(BOTH))])
async def test_their_first_request_is_refused_if_the_image_is_incomplete(
    cluster: FakeCluster, target: ManifestByTag | ManifestByDigest
) -> None:
    tagged(cluster, BOTH, *AMD64.without("layer-1"))
    async with cluster.mirror() as here:
        assert await refused(here, target) is Reason.INCOMPLETE


async def test_by_its_digest_an_image_may_be_for_another_platform(cluster: FakeCluster) -> None:
    cluster.node("a", *ARM64.blobs.values())
    async with cluster.mirror() as here:
        assert (await answered(here, ManifestByDigest(IN_PATH, ARM64.digest)))[0] == ARM64.digest


async def test_after_the_index_its_manifest_is_not_refused(cluster: FakeCluster) -> None:
    peer = tagged(cluster, BOTH, *AMD64.blobs.values())
    async with cluster.mirror(transfers=1) as here:
        await answered(here, ManifestByTag(IN_PATH, "1"), head=False)
        answer = await here.mirror.blob(
            Blob(IN_PATH, digest_of(AMD64.blobs["config"])), None, from_peer=False, head=False
        )
        del peer.content[digest_of(AMD64.blobs["layer-1"])]
        target = ManifestByDigest(IN_PATH, AMD64.digest)
        assert (await answered(here, target, head=False))[0] == AMD64.digest
        answer.close()


async def test_a_busy_mirror_refuses_the_manifest_and_lets_blobs_wait(cluster: FakeCluster) -> None:
    tagged(cluster, BOTH, *AMD64.blobs.values())
    config, layer = (digest_of(AMD64.blobs[name]) for name in ("config", "layer-1"))
    async with cluster.mirror(transfers=1) as here:
        running = await here.mirror.blob(blob(config), None, from_peer=False, head=False)
        assert await refused(here, ManifestByTag(IN_PATH, "1")) is Reason.BUSY
        assert (await answered(here))[0] == digest_of(BOTH)  # containerd may go elsewhere for a blob
        with pytest.raises(Busy):
            await here.mirror.blob(blob(layer), None, from_peer=False, head=False)
        waiting = asyncio.create_task(
            here.mirror.blob(Blob(IN_PATH, layer), None, from_peer=False, head=False)
        )
        await asyncio.sleep(5)
        assert not waiting.done()
        running.close()
        assert await delivered(await waiting) == AMD64.blobs["layer-1"]


async def test_a_blob_does_not_wait_for_ever(cluster: FakeCluster) -> None:
    layer = digest_of(cluster.content.put(b"x").encode())
    clock = asyncio.get_running_loop().time
    async with cluster.mirror(transfers=1) as here:
        running = await here.mirror.blob(blob(digest_of(b"x")), None, from_peer=False, head=False)
        began = clock()
        with pytest.raises(Busy):
            await here.mirror.blob(Blob(IN_PATH, layer), None, from_peer=False, head=False)
        assert 5 < clock() - began < 28
        running.close()
        assert here.blobs.to_clients() == 0


async def test_a_blob_is_tried_again_while_peers_are_busy(cluster: FakeCluster) -> None:
    layer = AMD64.blobs["layer-1"]
    peer = cluster.node("a", layer)
    peer.busy = True
    async with cluster.mirror() as here:
        with pytest.raises(NotServed):
            await here.mirror.blob(blob(digest_of(layer)), None, from_peer=False, head=False)
        trying = asyncio.create_task(
            here.mirror.blob(Blob(IN_PATH, digest_of(layer)), None, from_peer=False, head=False)
        )
        await asyncio.sleep(3)
        assert not trying.done()
        peer.busy = False
        assert await delivered(await trying) == layer
    assert cluster.leaks() == []


async def test_a_blob_that_nobody_holds_any_more_is_refused_at_once(cluster: FakeCluster) -> None:
    clock = asyncio.get_running_loop().time
    async with cluster.mirror() as here:
        began = clock()
        with pytest.raises(NotServed):
            await here.mirror.blob(Blob(IN_PATH, digest_of(b"gone")), None, from_peer=False, head=False)
        assert clock() - began < 1
