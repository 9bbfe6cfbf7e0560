"""Fixtures of real servers for all tests; the guard of tests that may not start processes."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import machines
from tests.support.nats import NatsServer
from tests.support.no_processes import no_processes
from tests.support.otlp import OtlpReceiver

# No time limit for an example: it would fail on a busy machine.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("busy"), max_examples=20)
settings.load_profile("busy")


# Their tests start processes only if they are marked with `processes`.
WITHOUT_PROCESSES = [Path(__file__).parent / folder for folder in ("unit", "contract")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    unmarked = item.get_closest_marker("processes") is None
    if unmarked and any(map(item.path.is_relative_to, WITHOUT_PROCESSES)):
        with no_processes():
            return (yield)
    return (yield)


def pytest_report_header() -> str:
    if reason := machines.absent():
        return reason
    left_out = [f"no {series}" for series in machines.KNOWN if series not in machines.SERIES]
    return "containerd: " + ", ".join([release.label for release in machines.versions()] + left_out)


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A nats-server of this test's own; `.url` is for clients."""
    async with NatsServer(tmp_path) as server:
        yield server


@pytest.fixture
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Collects the spans that are exported to `.endpoint`."""
    with OtlpReceiver() as receiver:
        yield receiver
