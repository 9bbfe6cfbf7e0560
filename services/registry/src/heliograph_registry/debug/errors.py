"""What can go wrong while the debug page is made.

RegistryError
├── FindingsUnavailable  a service did not report what its doctor found
├── PullInterrupted      this registry's data port closed the connection or did not answer
└── PullTestRefused      another pull test is running
"""

from heliograph_registry.mirror.errors import RegistryError


class FindingsUnavailable(RegistryError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url, self.reason = url, reason


class PullInterrupted(RegistryError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class PullTestRefused(RegistryError):
    def __init__(self, under_way: str) -> None:
        super().__init__(f"{under_way} is being measured")
        self.under_way = under_way
