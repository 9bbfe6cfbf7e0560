"""What the debug page expects of the doctors of other services: in memory, and over HTTP."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from heliograph_registry.debug.adapters.doctor_client import HttpDoctorReports
from heliograph_registry.debug.errors import FindingsUnavailable
from heliograph_registry.debug.ports import DoctorReports
from heliograph_shared.findings import Finding, Report, Unchecked, encode
from tests.support.bad_peer import BadPeer, Exchange
from tests.support.fakes.node import MemoryDoctorReports

WELL = Report(1_700_000_000_000)
ILL = Report(
    1_700_000_000_000,
    (Finding("clock", "error", "the clock is wrong", "it says 1970", "set it"),),
    (Unchecked("disk", "it could not be read"),),
    omitted=3,
)


@dataclass
class Service:
    """`finds` is what its doctor reports from now on; None lets it answer no more."""

    doctor: DoctorReports
    finds: Callable[[Report | None], None]


@pytest.fixture(params=["memory", "http"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    if request.param == "memory":
        doctor = MemoryDoctorReports("indexer")
        yield Service(doctor, lambda report: setattr(doctor, "found", report))
        return
    found: list[Report | None] = [None]

    async def answer(asked: Exchange) -> None:
        body = encode(found[-1]) if found[-1] is not None else b""
        if body:
            await asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with BadPeer(answer).serve() as served:
        yield Service(HttpDoctorReports("indexer", f"http://{served.address}"), found.append)


@pytest.mark.parametrize("report", [WELL, ILL])
async def test_a_report_is_told_as_it_is(service: Service, report: Report) -> None:
    service.finds(report)
    assert service.doctor.service == "indexer"
    assert await service.doctor.latest() == report


async def test_a_service_that_does_not_answer_is_unavailable(service: Service) -> None:
    with pytest.raises(FindingsUnavailable) as raised:
        await service.doctor.latest()
    assert raised.value.reason
    service.finds(WELL)
    assert await service.doctor.latest() == WELL
    service.finds(None)
    with pytest.raises(FindingsUnavailable):
        await service.doctor.latest()
