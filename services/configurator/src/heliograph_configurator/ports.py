"""What the use cases need from outside."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from heliograph_configurator.domain.certificate import CertificateUse
from heliograph_configurator.domain.diagnosis import MirrorAnswer
from heliograph_configurator.domain.folder import Tree
from heliograph_configurator.domain.plan import Step

MirrorProbe = Callable[[str], MirrorAnswer]
"""Requests a mirror's URL and says what answers there."""
CertificateTest = Callable[[CertificateUse, Sequence[Path]], str]
"""Why the files cannot be used as certificates, empty when they can.

The paths are a CA's, or a client certificate's followed by its key's where that is another file.
"""


class ReadinessProbe(Protocol):
    """Asks this node's registry whether it is ready."""

    async def ready(self) -> bool | None:
        """None when the registry does not answer in time."""
        ...


class RegistryConfig(Protocol):
    """containerd's config_path, and the record of what the configurator has changed there."""

    def read(self) -> Tree:
        """Raises `PathUnusable`, or `RecordUnusable`."""
        ...

    def execute(self, step: Step) -> None:
        """Execute one step durably. After an interruption at any point it can be planned and executed again.

        Raises `StepFailed`.
        """
        ...

    def tidy(self) -> None:
        """Remove what a crash has left, and all files of the configurator's own once nothing is claimed.

        Raises `StepFailed`.
        """
        ...
