"""The checksum is that of the contract, and every change undoes itself."""

import hashlib
import random
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.inventory import RunningInventory

digests = st.binary(max_size=4).map(digest_of)
references = st.text(min_size=1, max_size=12).map("quay.io/a:{}".format)
contents = st.sets(digests, max_size=8)
tags = st.dictionaries(references, digests, max_size=8)


def running(content: set[Digest], tagged: dict[str, Digest]) -> RunningInventory:
    inventory = RunningInventory()
    for digest in content:
        inventory.add_digest(digest)
    for reference, digest in tagged.items():
        inventory.add_tag(reference, digest)
    return inventory


@given(contents, tags)
def test_the_checksums_of_the_contract(content: set[Digest], tagged: dict[str, Digest]) -> None:
    of_content = of_tags = 0
    for digest in content:
        of_content ^= int.from_bytes(bytes.fromhex(digest.partition(":")[2])[:8], "big")
    for reference, digest in tagged.items():
        of_tags ^= int(hashlib.sha256(f"{reference}\0{digest}".encode()).hexdigest()[:16], 16)

    frozen = running(content, tagged).freeze()
    assert frozen.model_dump() == {
        "digests": len(content),
        "digest_checksum": f"{of_content:016x}",
        "tags": len(tagged),
        "tag_checksum": f"{of_tags:016x}",
    }


@given(contents, tags, contents, tags, st.randoms(use_true_random=False))
def test_any_way_to_the_same_content_has_the_same_inventory(
    content: set[Digest],
    tagged: dict[str, Digest],
    detour: set[Digest],
    detoured: dict[str, Digest],
    order: random.Random,
) -> None:
    inventory = running(detour, detoured)
    changes = [
        *(partial(inventory.remove_digest, digest) for digest in detour - content),
        *(partial(inventory.add_digest, digest) for digest in content - detour),
        *(partial(inventory.remove_tag, *tag) for tag in detoured.items() - tagged.items()),
        *(partial(inventory.add_tag, *tag) for tag in tagged.items() - detoured.items()),
    ]
    order.shuffle(changes)
    for change in changes:
        change()
    assert inventory.freeze() == running(content, tagged).freeze()


@given(tags.filter(bool), digests)
def test_a_moved_tag_shows(tagged: dict[str, Digest], moved: Digest) -> None:
    reference = min(tagged)
    same = tagged[reference] == moved
    assert (running(set(), tagged | {reference: moved}).freeze() == running(set(), tagged).freeze()) is same
