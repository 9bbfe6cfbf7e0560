"""Errors of the configurator.

ConfiguratorError
├── PathUnusable     certs.d as a whole cannot be used; nothing was changed
├── FolderLocked     another configurator is working on certs.d
├── RecordUnusable   the record of claimed folders is lost or unreadable; nothing was changed
├── SecretUnusable   containerd could not use a password file or a certificate
└── StepFailed       one folder could not be changed; each of its files is the old one or the new one
"""

from pathlib import Path


class ConfiguratorError(Exception):
    """The base of this service's errors."""


class PathUnusable(ConfiguratorError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class FolderLocked(ConfiguratorError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: another heliograph-configurator is working on it")
        self.path = path


class RecordUnusable(ConfiguratorError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class SecretUnusable(ConfiguratorError):
    """`reason` never quotes the file's content."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class StepFailed(ConfiguratorError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason
