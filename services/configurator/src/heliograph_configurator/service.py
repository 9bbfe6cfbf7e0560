"""Carries a plan out and tells the operator what he should know. One thread; callers take turns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import structlog

from heliograph_configurator.domain.mirror import Mirror
from heliograph_configurator.domain.plan import (
    Broken,
    LeftEdited,
    Mended,
    Note,
    Plan,
    Release,
    Replaced,
    Restore,
    Shadowing,
    Step,
    TakenFromDefault,
    Unusable,
    Write,
    plan_apply,
    plan_cleanup,
    plan_withdrawal,
)
from heliograph_configurator.domain.registry import Registry
from heliograph_configurator.errors import StepFailed
from heliograph_configurator.ports import RegistryConfig

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one use: `steps` that were taken, what there is to tell, and `failures` in words."""

    steps: tuple[Step, ...] = ()
    notes: tuple[Note, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps the settings from being fulfilled, for a person."""
        hindrances = (note for note in self.notes if isinstance(note, Broken | Unusable))
        return (*(f"{note.folder}: {note.reason}" for note in hindrances), *self.failures)

    @property
    def complete(self) -> bool:
        return not self.problems


class Configurator:
    """What is done, and what could not be, is logged; what `before` has told already is not told again.

    Every use raises `PathUnusable`, or `RecordUnusable`.
    """

    def __init__(self, config: RegistryConfig, before: Outcome | None = None) -> None:
        self._config, self._before = config, before

    def apply(
        self, mirror: Mirror, registries: Sequence[Registry] | None, *, prepend: bool, mend: bool = False
    ) -> Outcome:
        """Send pulls of `registries` (None: all) to `mirror` first."""
        plan = plan_apply(mirror, registries, self._config.read(), prepend=prepend, mend=mend)
        return self._carry_out(plan, "registries configured")

    def withdraw(self) -> Outcome:
        """Restore what was there before, until the next `apply`."""
        return self._carry_out(plan_withdrawal(self._config.read()), "mirrors withdrawn")

    def cleanup(self) -> Outcome:
        """Restore what was there before."""
        return self._carry_out(plan_cleanup(self._config.read()), "registries cleaned up")

    def _carry_out(self, plan: Plan, event: str) -> Outcome:
        told = self._before.notes if self._before else ()
        for note in plan.notes:
            if note not in told:
                _tell(note)
        done, failures = [], []
        for step in plan.steps:
            if failure := self._failure_of(partial(self._config.execute, step)):
                failures.append(failure)
                continue
            done.append(step)
            _tell_step(step)
        if failure := self._failure_of(self._config.tidy):
            failures.append(failure)
        outcome = Outcome(tuple(done), tuple(plan.notes), tuple(failures))
        if done or self._before is None or outcome.complete is not self._before.complete:
            log.info(event, changed=len(done), complete=outcome.complete)
        return outcome

    def _failure_of(self, change: Callable[[], None]) -> str:
        """Empty where there is none; the other folders are still to be done after one."""
        try:
            change()
        except StepFailed as error:
            failure = error
        else:
            return ""
        if self._before is None or str(failure) not in self._before.failures:
            log.error("not changed", path=str(failure.path), reason=failure.reason)
        return str(failure)


def _tell_step(step: Step) -> None:
    match step:
        case Write():
            log.info("hosts.toml written", folder=step.folder)
        case Restore():
            log.info("folder restored", folder=step.folder)
        case Release():
            log.info("folder left to its editor", folder=step.folder)
        case _:
            assert_never(step)


def _tell(note: Note) -> None:
    match note:
        case LeftEdited(original_kept=kept):
            log.warning(
                "hosts.toml was changed by hand, left as it is", folder=note.folder, original_kept=kept
            )
        case Mended(reason=reason):
            log.warning(
                "hosts.toml was damaged, written anew; what was found is in .heliograph/damaged",
                folder=note.folder,
                reason=reason,
            )
        case Replaced():
            log.warning(
                "hosts.toml replaced: its hosts and certificates do not apply, --prepend-existing keeps them",
                folder=note.folder,
            )
        case TakenFromDefault():
            log.warning("_default does not apply to this registry any more", folder=note.folder)
        case Shadowing():
            log.warning(
                "not mirrored: this folder takes precedence over _default, "
                "name the registry or use --prepend-existing",
                folder=note.folder,
            )
        case Unusable(reason=reason):
            log.error("folder cannot be used, left as it is", folder=note.folder, reason=reason)
        case Broken(line=line, reason=reason):
            log.error(
                "hosts.toml is broken, left as it is",
                file=f"{note.folder}/hosts.toml",
                line=line,
                reason=reason,
            )
        case _:
            assert_never(note)
