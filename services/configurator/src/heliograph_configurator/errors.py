"""What can go wrong while certs.d is changed.

ConfiguratorError
├── PathUnusable     the folder as a whole cannot be worked on; nothing was changed
├── Busy             another configurator is at work there
├── RecordUnusable   what we have claimed cannot be told, so nothing is touched
├── SecretUnusable   a password or certificate cannot be given to containerd
└── StepFailed       one folder could not be changed; it is as it was, or as it should be
"""

from pathlib import Path


class ConfiguratorError(Exception):
    """The base of this service's errors."""


class PathUnusable(ConfiguratorError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class Busy(ConfiguratorError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: another heliograph-configurator is at work")
        self.path = path


class RecordUnusable(ConfiguratorError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class SecretUnusable(ConfiguratorError):
    """`reason` says nothing of what the file holds."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class StepFailed(ConfiguratorError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason
