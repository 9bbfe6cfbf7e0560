"""Serves findings to the debug page with the publisher that services use, on a port of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from heliograph_shared.address import Address
from heliograph_shared.findings import Finding, Report, Unchecked
from heliograph_shared.findings_publisher import FindingsPublisher
from heliograph_shared.http import serve_http
from heliograph_shared.runtime import bind
from tests.support.ports import free_port

FINDINGS = (
    Finding(
        "discard-unpacked-layers",
        "error",
        "containerd throws layers away once they are unpacked",
        "discard_unpacked_layers is true in `containerd config dump`",
        "set `discard_unpacked_layers = false` and restart containerd",
    ),
    Finding(
        "clock",
        "warning",
        "the clock is 90 s behind",
        "the router refused a message of this node",
        "run a time service such as chrony",
    ),
)
UNCHECKED = Unchecked("config-path", "containerd 2 tells nobody")


@asynccontextmanager
async def serve_findings() -> AsyncIterator[str]:
    """Gives the URL of the admin port."""
    publisher, port = FindingsPublisher([]), free_port()
    publisher.report = Report.of(1_764_000_000_000, FINDINGS, [UNCHECKED])
    async with serve_http(Starlette(routes=[publisher.route()]), bind(Address("127.0.0.1", port))):
        yield f"http://127.0.0.1:{port}"
