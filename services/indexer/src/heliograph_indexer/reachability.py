"""Decides which addresses of this node's registry are advertised to peers.

While the registry is not ready, the node keeps announcing its content but no address: routers keep the
content in their index and send no peer here.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from heliograph_indexer.ports import NodeAddress, RegistryReadiness
from heliograph_shared.address import Address
from heliograph_shared.runtime import backoff

log = structlog.get_logger()

_POLL_S = 1.0
_SILENT_POLLS = 3  # in a row: a registry that is busy for a moment keeps its addresses
_REGISTRY_PORT = 5000

OnAddresses = Callable[[tuple[str, ...]], None]


async def follow_reachability(
    advertise: Sequence[str],
    *,
    node_address: NodeAddress,
    registry: RegistryReadiness | None,
    report: OnAddresses,
) -> None:
    """Report the addresses (`host:port`) once they are known and after every change.

    An empty report means not reachable. `advertise` are the operator's addresses; if empty, port 5000 of
    `node_address` is used. Without `registry` the addresses never change.
    """
    addresses = tuple(advertise) or (await _own_address(node_address),)
    if registry is None:
        report(addresses)
        return
    reported, silent_polls = None, 0
    while True:
        ready = await registry.ready()
        silent_polls = silent_polls + 1 if ready is None else 0
        settled = ready is not None or silent_polls == _SILENT_POLLS
        if settled and bool(ready) is not reported:
            log.info("registry is ready" if ready else "registry is not ready", addresses=addresses)
            report(addresses if ready else ())
            reported = bool(ready)
        await asyncio.sleep(_POLL_S)


async def _own_address(node_address: NodeAddress) -> str:
    for delay in backoff():
        if host := await node_address.own_host():
            return str(Address(host, _REGISTRY_PORT))
        log.warning("own address unknown: no route to the bus, trying again", retry_in_s=round(delay, 1))
        await asyncio.sleep(delay)
    raise AssertionError  # the delays never end
