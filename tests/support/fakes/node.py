"""What a registry hears of its own node and of DNS, in memory: small ports that only answer questions."""

import random
from collections.abc import Sequence

from heliograph_registry.debug.errors import FindingsUnavailable
from heliograph_shared.digest import Digest
from heliograph_shared.findings import Report


class MemoryFacts:
    """The ports `NodeFacts` and `IndexerState`: what the node's indexer tells."""

    def __init__(self) -> None:
        self.tags: dict[str, Digest] = {}
        self.addresses: frozenset[str] = frozenset()

    def digest_of(self, tag_reference: str) -> Digest | None:
        return self.tags.get(tag_reference)


class MemoryDiscovery:
    """The port `PeerAddresses`: addresses of registries, as DNS gives them."""

    def __init__(self, *known: str) -> None:
        self.known = list(known)

    async def addresses(self, count: int) -> Sequence[str]:
        return random.sample(self.known, min(count, len(self.known)))


class MemoryDoctorReports:
    """The port `DoctorReports`: what another service has found; None while it does not answer."""

    def __init__(self, service: str, found: Report | None = None) -> None:
        self.service, self.found = service, found

    async def latest(self) -> Report:
        if self.found is None:
            raise FindingsUnavailable(self.service, "connection refused")
        return self.found
