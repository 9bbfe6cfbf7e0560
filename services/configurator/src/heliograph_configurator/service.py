"""Executes plans for certs.d and logs what the operator should know. Not for several threads at once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

import structlog

from heliograph_configurator.domain.mirror import MirrorHosts
from heliograph_configurator.domain.notes import (
    LeftEdited,
    NewOriginal,
    Note,
    OverridesDefault,
    PartlyIgnored,
    Repaired,
    Replaced,
    ShadowsDefault,
    UnparsableFile,
    UnusableFolder,
)
from heliograph_configurator.domain.plan import (
    Plan,
    ReleaseClaim,
    RestoreOriginal,
    Step,
    WriteHosts,
    plan_apply,
    plan_cleanup,
    plan_withdrawal,
)
from heliograph_configurator.domain.registry import UpstreamRegistry
from heliograph_configurator.domain.result import ReconcileResult
from heliograph_configurator.errors import StepFailed
from heliograph_configurator.ports import RegistryConfig

log = structlog.get_logger()


class Configurator:
    """Logs what it does and what fails; notes and failures that `previous` has already are not logged again.

    Every public method raises `PathUnusable`, or `RecordUnusable`.
    """

    def __init__(self, config: RegistryConfig, previous: ReconcileResult | None = None) -> None:
        self._config, self._previous = config, previous

    def apply(
        self,
        mirror: MirrorHosts,
        registries: Sequence[UpstreamRegistry] | None,
        *,
        prepend: bool,
        repair: bool = False,
    ) -> ReconcileResult:
        """Make containerd ask `mirror` first for images of `registries` (None: all)."""
        plan = plan_apply(mirror, registries, self._config.read(), prepend=prepend, repair=repair)
        return self._execute(plan, "registries configured")

    def withdraw(self) -> ReconcileResult:
        """Restore the originals until the next `apply`."""
        return self._execute(plan_withdrawal(self._config.read()), "mirrors withdrawn")

    def cleanup(self) -> ReconcileResult:
        """Restore the originals, for good."""
        return self._execute(plan_cleanup(self._config.read()), "registries cleaned up")

    def _execute(self, plan: Plan, event: str) -> ReconcileResult:
        logged = self._previous.notes if self._previous else ()
        for note in plan.notes:
            if note not in logged:
                _log_note(note)
        done, failures = [], []
        for step in plan.steps:
            if failure := self._failure_of(partial(self._config.execute, step)):
                failures.append(failure)
                continue
            done.append(step)
            _log_step(step)
        if failure := self._failure_of(self._config.tidy):
            failures.append(failure)
        result = ReconcileResult(tuple(done), tuple(plan.notes), tuple(failures))
        if done or self._previous is None or result.complete is not self._previous.complete:
            log.info(event, changed=len(done), complete=result.complete)
        return result

    def _failure_of(self, change: Callable[[], None]) -> str:
        """Why the change failed, empty if it did not; an error does not stop the remaining changes."""
        try:
            change()
        except StepFailed as error:
            failure = error
        else:
            return ""
        if self._previous is None or str(failure) not in self._previous.failures:
            log.error("folder not changed", path=str(failure.path), reason=failure.reason)
        return str(failure)


def _log_step(step: Step) -> None:
    match step:
        case WriteHosts():
            log.info("hosts.toml written", folder=step.folder)
        case RestoreOriginal():
            log.info("folder restored", folder=step.folder)
        case ReleaseClaim():
            log.info("folder released, its edited hosts.toml stays", folder=step.folder)
        case _:
            assert_never(step)


def _log_note(note: Note) -> None:
    match note:
        case LeftEdited(original_kept=kept):
            log.warning(
                "hosts.toml was changed by hand, left as it is", folder=note.folder, original_kept=kept
            )
        case Repaired(reason=reason):
            log.warning(
                "hosts.toml was damaged, writing it again; the damaged file is kept in .heliograph/damaged",
                folder=note.folder,
                reason=reason,
            )
        case NewOriginal():
            log.warning(
                "hosts.toml was written by another program: cleanup will restore this one", folder=note.folder
            )
        case Replaced():
            log.warning(
                "hosts.toml replaced: its hosts and certificates do not apply any more; "
                "--prepend-existing keeps them",
                folder=note.folder,
            )
        case PartlyIgnored(versions=versions, reason=reason):
            log.warning(
                "some versions of containerd ignore this hosts.toml",
                folder=note.folder,
                versions=versions,
                reason=reason,
            )
        case OverridesDefault():
            log.warning("_default does not apply to this registry any more", folder=note.folder)
        case ShadowsDefault():
            log.warning(
                "not mirrored: this folder takes precedence over _default; "
                "name the registry or use --prepend-existing",
                folder=note.folder,
            )
        case UnusableFolder(reason=reason):
            log.error("folder cannot be used, left as it is", folder=note.folder, reason=reason)
        case UnparsableFile(line=line, reason=reason):
            log.error(
                "hosts.toml cannot be kept after the mirrors, left as it is",
                file=f"{note.folder}/hosts.toml",
                line=line,
                reason=reason,
            )
        case _:
            assert_never(note)
