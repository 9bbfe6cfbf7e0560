"""The result of one reconciliation of certs.d. Pure."""

from dataclasses import dataclass

from heliograph_configurator.domain.notes import Note, UnparsableFile, UnusableFolder
from heliograph_configurator.domain.plan import Step


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """`steps` that were executed, `notes` for the operator, and `failures` as text for a person."""

    steps: tuple[Step, ...] = ()
    notes: tuple[Note, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps certs.d from matching the settings, as text for a person."""
        obstacles = (note for note in self.notes if isinstance(note, UnparsableFile | UnusableFolder))
        return (*(f"{note.folder}: {note.reason}" for note in obstacles), *self.failures)

    @property
    def complete(self) -> bool:
        return not self.problems
