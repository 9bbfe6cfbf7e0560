"""What configuring containerd needs from outside."""

from typing import Protocol

from heliograph_configurator.domain.folder import Tree
from heliograph_configurator.domain.plan import Step


class RegistryProbe(Protocol):
    """This node's registry."""

    async def ready(self) -> bool | None:
        """Whether it says so; None where it says nothing within 2 s."""
        ...


class RegistryConfig(Protocol):
    """containerd's config_path, and our record of what we have changed there."""

    def read(self) -> Tree:
        """Raises `PathUnusable`, or `RecordUnusable`."""
        ...

    def execute(self, step: Step) -> None:
        """Take one step, durably; cut short at any moment, it can be planned and taken anew.

        Raises `StepFailed`.
        """
        ...

    def tidy(self) -> None:
        """Remove what a crash has left, and every trace of ours once nothing is claimed.

        Raises `StepFailed`.
        """
        ...
