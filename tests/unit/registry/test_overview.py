"""What the debug page knows of its node and the cluster, also when nobody answers."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from heliograph_registry.debug.domain.health import Level
from heliograph_registry.debug.overview import Overviews, RegistryInfo
from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.request_log import RequestLog
from heliograph_shared.digest import digest_of
from heliograph_shared.findings import Finding, Report
from tests.support.fakes.cluster import HERE, FakeCluster
from tests.support.fakes.node import MemoryDoctorReports
from tests.unit.registry.request_log_support import entry

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

WELL = Report(1000)
ILL = Report(1000, (Finding("clock", "error", "the clock is wrong", "it says 1970", "set it"),))


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.node("a", b"content")
    return cluster


class Page:
    """An overview on fakes, and what it is made of."""

    def __init__(self, cluster: FakeCluster, *doctors: MemoryDoctorReports) -> None:
        self.request_log = RequestLog()
        self.unready: str | None = None
        self.remembered: Sequence[Peer] = ()
        self.asked_last: dict[str, float] = {}
        self.overviews = Overviews(
            RegistryInfo(HERE, "zone-1", "1.0", "dns:///router:5050", time.time() - 60),
            readiness=lambda: self.unready,
            request_log=self.request_log,
            indexer_state=cluster.facts,
            router_queries=cluster.router_queries,
            doctors=doctors,
            remembered=lambda: self.remembered,
            asked_last=lambda: self.asked_last,
        )

    async def level(self) -> Level:
        return (await self.overviews.now()).verdict.level


async def test_a_node_that_served_a_pull_works(cluster: FakeCluster) -> None:
    page = Page(cluster)
    page.request_log.record(entry())
    overview = await page.overviews.now()
    assert overview.verdict.level is Level.YES
    assert [node.node for node in overview.cluster.nodes] == [HERE, "a"]
    assert overview.cluster.router_error is None
    assert overview.addresses == (f"{HERE}:5000",)
    assert overview.last_mirrored == entry()


async def test_no_pull_so_far_is_no_proof(cluster: FakeCluster) -> None:
    assert await Page(cluster).level() is Level.PARTLY


async def test_a_registry_that_is_not_ready_does_not_work(cluster: FakeCluster) -> None:
    page = Page(cluster)
    page.request_log.record(entry())
    page.unready = "the content store cannot be read"
    assert await page.level() is Level.NO
    assert (await page.overviews.now()).unready == page.unready


async def test_without_a_router_remembered_peers_count(cluster: FakeCluster) -> None:
    cluster.router.down = "UNAVAILABLE: connection refused"
    page = Page(cluster)
    page.remembered = (Peer("a", ("a:5000",)),)
    overview = await page.overviews.now()
    assert overview.verdict.level is Level.PARTLY
    assert overview.cluster.router_error == cluster.router.down
    assert (overview.cluster.nodes, overview.cluster.remembered) == ((), page.remembered)


async def test_a_router_that_hangs_holds_the_page_up_for_a_second(cluster: FakeCluster) -> None:
    cluster.router.answers_after_s = 60
    clock = asyncio.get_running_loop().time
    began = clock()
    assert (await Page(cluster).overviews.now()).cluster.router_error is not None
    assert clock() - began == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("known", ["not at all", "without an address"])
async def test_a_node_that_others_are_not_told_of_works_partly(cluster: FakeCluster, known: str) -> None:
    page = Page(cluster)
    page.request_log.record(entry())
    if known == "not at all":
        del cluster.router.nodes[HERE]
    else:
        cluster.router.add_node(HERE)
    assert await page.level() is Level.PARTLY


async def test_a_node_without_others_works_partly(cluster: FakeCluster) -> None:
    page = Page(cluster)
    page.request_log.record(entry())
    del cluster.router.nodes["a"]
    assert await page.level() is Level.PARTLY


async def test_an_error_that_a_doctor_found_counts(cluster: FakeCluster) -> None:
    page = Page(cluster, MemoryDoctorReports("indexer", WELL), MemoryDoctorReports("configurator", ILL))
    page.request_log.record(entry())
    overview = await page.overviews.now()
    assert overview.verdict.level is Level.PARTLY
    assert [(each.service, each.report) for each in overview.cluster.doctors] == [
        ("indexer", WELL),
        ("configurator", ILL),
    ]


async def test_a_doctor_that_does_not_answer_is_told_and_counts_for_nothing(cluster: FakeCluster) -> None:
    page = Page(cluster, MemoryDoctorReports("indexer"))
    page.request_log.record(entry())
    overview = await page.overviews.now()
    assert overview.verdict.level is Level.YES
    (examined,) = overview.cluster.doctors
    assert examined.report is None
    assert examined.error


async def test_misses_that_are_no_fault_do_not_make_it_ill(cluster: FakeCluster) -> None:
    page = Page(cluster)
    page.request_log.record(entry(reason=Reason.NOT_FOUND))
    assert await page.level() is Level.YES
    page.request_log.record(entry(reason=Reason.PEERS_FAILED))
    page.request_log.record(entry(reason=Reason.PEERS_FAILED))
    assert await page.level() is Level.NO


async def test_only_pulls_of_clients_are_judged(cluster: FakeCluster) -> None:
    page = Page(cluster)
    page.request_log.record(entry(peer="a", reason=Reason.PEERS_FAILED))
    assert await page.level() is Level.PARTLY
    assert len((await page.overviews.now()).requests) == 1


async def test_routers_and_doctors_are_asked_once_however_many_look(cluster: FakeCluster) -> None:
    cluster.router.answers_after_s = 0.1
    page = Page(cluster)
    views = await asyncio.gather(*(page.overviews.now() for _ in range(10)))
    assert cluster.router_queries.asked == 1
    assert all(view.cluster is views[0].cluster for view in views)


async def test_tags_of_the_node_and_of_the_cluster_are_searched(cluster: FakeCluster) -> None:
    digest = digest_of(b"content")
    cluster.facts.tags = {f"reg.test/app:{number}": digest for number in range(5)} | {"reg.test/x:1": digest}
    cluster.router.holds("a", digest, 7, "reg.test/app:9")
    cluster.router.holds("a", digest, 7, "reg.test/x:1")
    tags = await Page(cluster).overviews.tags("app", 2)
    assert tags.own == (("reg.test/app:0", digest), ("reg.test/app:1", digest))
    assert tags.own_found == 5
    assert tags.cluster is not None
    assert [tag.reference for tag in tags.cluster.tags] == ["reg.test/app:9"]
    assert (tags.cluster.found, tags.cluster_error) == (1, "")


async def test_own_tags_are_searched_without_a_router_too(cluster: FakeCluster) -> None:
    cluster.facts.tags = {"reg.test/app:1": digest_of(b"content")}
    cluster.router.down = "UNAVAILABLE"
    tags = await Page(cluster).overviews.tags("", 10)
    assert (tags.own_found, tags.cluster, tags.cluster_error) == (1, None, "UNAVAILABLE")
