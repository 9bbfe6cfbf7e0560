"""Carries a plan out and tells the operator what he should know. One thread; callers take turns."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

import structlog

from heliograph_configurator.domain.hosts_toml import Mirror
from heliograph_configurator.domain.plan import (
    Broken,
    LeftEdited,
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
)
from heliograph_configurator.domain.registry import Registry
from heliograph_configurator.errors import StepFailed
from heliograph_configurator.ports import RegistryConfig

log = structlog.get_logger()


class Configurator:
    """Both uses answer whether all was done; what was not has been logged as an error."""

    def __init__(self, config: RegistryConfig) -> None:
        self._config = config

    def apply(self, mirror: Mirror, registries: Sequence[Registry] | None, *, prepend: bool) -> bool:
        """Send pulls of `registries` (None: all) to `mirror` first.

        Raises `PathUnusable`, or `RecordUnusable`.
        """
        plan = plan_apply(mirror, registries, self._config.read(), prepend=prepend)
        return self._carry_out(plan, "registries configured")

    def cleanup(self) -> bool:
        """Restore what was there before. Raises `PathUnusable`, or `RecordUnusable`."""
        return self._carry_out(plan_cleanup(self._config.read()), "registries cleaned up")

    def _carry_out(self, plan: Plan, event: str) -> bool:
        done = [_told(note) for note in plan.notes]
        done += [self._taken(step) for step in plan.steps]
        done.append(_succeeded(self._config.tidy))
        log.info(event, changed=len(plan.steps), complete=all(done))
        return all(done)

    def _taken(self, step: Step) -> bool:
        if not _succeeded(partial(self._config.execute, step)):
            return False
        match step:
            case Write():
                log.info("hosts.toml written", folder=step.folder)
            case Restore():
                log.info("folder restored", folder=step.folder)
            case Release():
                log.info("folder left to its editor", folder=step.folder)
            case _:
                assert_never(step)
        return True


def _succeeded(change: Callable[[], None]) -> bool:
    """Log a failure: the other folders are still to be done."""
    try:
        change()
    except StepFailed as error:
        failure = error
    else:
        return True
    log.error("not changed", path=str(failure.path), reason=failure.reason)
    return False


def _told(note: Note) -> bool:
    """Log it; False when it keeps the settings from being fulfilled."""
    match note:
        case LeftEdited(original_kept=kept):
            log.warning(
                "hosts.toml was changed by hand, left as it is", folder=note.folder, original_kept=kept
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
            return False
        case Broken(line=line, reason=reason):
            log.error(
                "hosts.toml is broken, left as it is",
                file=f"{note.folder}/hosts.toml",
                line=line,
                reason=reason,
            )
            return False
        case _:
            assert_never(note)
    return True
