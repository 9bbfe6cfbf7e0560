"""Messages that are not from the node whose name they bear, on a real bus and a real router."""

from collections.abc import AsyncIterator

import pytest

from heliograph_shared.digest import digest_of
from heliograph_shared.rpc import resolver_pb2 as pb
from tests.integration.router_support import BusNode, RouterClient, connect, living_node, serving_router
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

A, B = digest_of(b"a"), digest_of(b"b")


@pytest.fixture
async def router(nats_server: NatsServer) -> AsyncIterator[RouterClient]:
    async with serving_router(nats_server.url) as router:
        yield router


@pytest.fixture
async def node(nats_server: NatsServer) -> AsyncIterator[BusNode]:
    async with living_node(nats_server.url, "worker-1.example", zone="z1") as node:
        yield node


async def test_of_two_indexers_with_one_name_both_are_named_and_the_first_recovers_when_the_other_ends(
    router: RouterClient, node: BusNode, nats_server: NatsServer
) -> None:
    node.young = False
    await node.change(add=[A])
    await router.knows(A, node.name)
    async with living_node(nats_server.url, node.name, addresses=["10.0.0.2:5000"]) as other:
        await other.change(add=[B])
        await router.knows(B, node.name)
        await router.knows(A)

        async def both_are_named() -> bool:
            (listed,) = (await router.api.ListNodes(pb.ListNodesRequest(), timeout=5)).nodes
            addresses = (list(listed.addresses), list(listed.namesake.addresses))
            return addresses == (other.addresses, node.addresses)

        await eventually(both_are_named, 20, "the list of nodes does not name both")

        async def is_counted() -> bool:
            return (await router.metrics())["heliograph_router_shared_node_names"] == 1

        await eventually(is_counted, 20, "the metric does not count the name")
        other.mute = True  # it ends without a message
        await router.knows(A, node.name, within=20)
        await router.knows(B)


async def test_a_departure_that_somebody_forged_hides_a_node_until_its_next_heartbeat(
    router: RouterClient, node: BusNode, nats_server: NatsServer
) -> None:
    await node.change(add=[A])
    await router.knows(A, node.name)
    async with connect(nats_server.url) as forger:
        forged = BusNode(forger, node.name, incarnation=node.incarnation + 60 * 10**9)
        await forged.leave()
        await forger.flush()
    await eventually(lambda: len(node.asked) > 1, 20, "the router does not ask the node anew")
    await router.knows(A, node.name)
