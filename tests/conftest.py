"""Fixtures of the real parts that any test may use, and the line that says which are there."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import machines
from tests.support.nats import NatsServer
from tests.support.otlp import OtlpReceiver

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_report_header() -> str:
    if reason := machines.absent():
        return reason
    return "containerd: " + ", ".join(release.label for release in machines.versions())


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
