"""Errors of the debug page.

RegistryError
├── FindingsUnavailable  the doctor of a service sent no report
├── PullInterrupted      this registry's data port did not answer, or closed the connection
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
    """`running` is the image of the pull test that is running."""

    def __init__(self, running: str) -> None:
        super().__init__(f"a pull test of {running} is running")
        self.running = running
