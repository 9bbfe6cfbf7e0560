"""Keeps certs.d as the settings want it, for as long as this node's registry is ready.

One look at a time, in a thread, since it waits for disks. Whatever a look cannot do is logged once and tried
again; nothing ends the watch. When it is cancelled, a look that has begun is finished and the mirrors stay.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

import structlog

from heliograph_configurator.domain.course import Course, Intent
from heliograph_configurator.errors import ConfiguratorError
from heliograph_configurator.ports import RegistryProbe
from heliograph_configurator.service import Outcome

log = structlog.get_logger()

PROBE_EVERY_S = 1.0
SHOWN_PROBLEMS = 5

Look = Callable[[Intent, Outcome], Outcome]
"""Make certs.d what is intended, given what came of the look before; raises `ConfiguratorError`."""
Report = Callable[[Intent, Outcome], None]


class Watch:
    """Without a `registry` mirrors are wanted always."""

    def __init__(
        self, look: Look, registry: RegistryProbe | None, *, withdraw_after_s: float, report: Report
    ) -> None:
        self._look_at_folder, self._registry, self._report = look, registry, report
        self._course = Course(withdraw_after_s, ready_at=time.monotonic())
        self._outcome = Outcome()

    def hint(self) -> None:
        """Something may have changed."""
        self._course = self._course.told()

    def unready_reason(self) -> str | None:
        match self._course.looked_for:
            case Intent.WAIT:
                return "nothing written yet: the registry has not been ready"
            case Intent.RESTORE:
                return (
                    f"mirrors withdrawn: the registry was not ready for {self._course.withdraw_after_s:g} s"
                )
            case Intent.MIRROR:
                problems = self._outcome.problems
                more = len(problems) - SHOWN_PROBLEMS
                return (
                    "; ".join([*problems[:SHOWN_PROBLEMS], *([f"{more} more"] if more > 0 else [])]) or None
                )
            case unknown:
                assert_never(unknown)

    async def run(self) -> None:
        while True:
            ready = self._registry is None or bool(await self._registry.ready())
            before = self._course.intent
            self._course = self._course.probed(time.monotonic(), ready=ready)
            if self._course.intent is not before:
                self._tell_intent()
            if self._course.is_due(time.monotonic()):
                await self._look()
            await asyncio.sleep(PROBE_EVERY_S)

    async def _look(self) -> None:
        intent = self._course.intent
        self._course = self._course.looking(time.monotonic())
        outcome = await asyncio.to_thread(self._looked, intent)
        self._course = self._course.looked(
            intent, time.monotonic(), changed=bool(outcome.steps), failed=bool(outcome.failures)
        )
        self._outcome = outcome
        self._report(intent, outcome)

    def _looked(self, intent: Intent) -> Outcome:
        try:
            return self._look_at_folder(intent, self._outcome)
        except ConfiguratorError as error:
            reason = str(error)
        if reason not in self._outcome.failures:
            log.error("nothing was changed", reason=reason)
        # The notes are kept: what they say has been told.
        return replace(self._outcome, steps=(), failures=(reason,))

    def _tell_intent(self) -> None:
        if self._course.intent is Intent.RESTORE:
            log.warning(
                "registry is not ready, taking the mirrors out", after_s=self._course.withdraw_after_s
            )
        elif self._registry is not None:
            log.info("registry is ready, writing the mirrors")
