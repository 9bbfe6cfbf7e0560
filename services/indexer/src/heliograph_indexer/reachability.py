"""Where peers reach this node's registry, and whether they may be told.

A node whose registry does not answer keeps announcing what it holds, but no address: routers keep its
content and send nobody there.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from heliograph_indexer.ports import RegistryProbe, Route
from heliograph_shared.address import Address
from heliograph_shared.runtime import backoff

log = structlog.get_logger()

_PROBE_S = 1.0
_SILENCES = 3  # in a row: a registry that is busy for a moment is not taken from its peers
_REGISTRY_PORT = 5000

OnAddresses = Callable[[tuple[str, ...]], None]


async def follow_reachability(
    advertise: Sequence[str], *, route: Route, registry: RegistryProbe | None, report: OnAddresses
) -> None:
    """Report the addresses (`host:port`) when they become known and with every change; none: not reachable.

    `advertise` are those that the operator named; empty: this node's own, as `route` tells it. Without
    `registry` they hold always.
    """
    addresses = tuple(advertise) or (await _own_address(route),)
    if registry is None:
        report(addresses)
        return
    reported, silences = None, 0
    while True:
        ready = await registry.ready()
        silences = silences + 1 if ready is None else 0
        settled = ready is not None or silences == _SILENCES
        if settled and bool(ready) is not reported:
            log.info("registry is ready" if ready else "registry is not ready", addresses=addresses)
            report(addresses if ready else ())
            reported = bool(ready)
        await asyncio.sleep(_PROBE_S)


async def _own_address(route: Route) -> str:
    for delay in backoff():
        if host := await route.own_host():
            return str(Address(host, _REGISTRY_PORT))
        log.warning("own address not known yet: no route to the bus", retry_in_s=round(delay, 1))
        await asyncio.sleep(delay)
    raise AssertionError  # the delays have no end
