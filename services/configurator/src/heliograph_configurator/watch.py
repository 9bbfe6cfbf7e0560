"""Keeps certs.d as the settings ask, as long as this node's registry is ready.

One reconciliation runs at a time, in a thread, since it waits for disks. A failure is logged once and tried
again; none ends the watch. When the watch is cancelled, a reconciliation that has started runs to its end and
the mirrors stay.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

import structlog

from heliograph_configurator.domain.reconcile_schedule import Intent, ReconcileSchedule
from heliograph_configurator.domain.result import ReconcileResult
from heliograph_configurator.errors import ConfiguratorError
from heliograph_configurator.ports import ReadinessProbe

log = structlog.get_logger()

PROBE_EVERY_S = 1.0
SHOWN_PROBLEMS = 5

Reconcile = Callable[[Intent, ReconcileResult], ReconcileResult]
"""Bring certs.d to the intended state, given the previous result; raises `ConfiguratorError`."""
OnResult = Callable[[Intent, ReconcileResult], None]


class Watch:
    """Without a `registry` to probe, mirrors are always wanted."""

    def __init__(
        self,
        reconcile: Reconcile,
        registry: ReadinessProbe | None,
        *,
        withdraw_after_s: float,
        on_result: OnResult,
    ) -> None:
        self._reconcile, self._registry, self._on_result = reconcile, registry, on_result
        self._schedule = ReconcileSchedule(withdraw_after_s, ready_at=time.monotonic())
        self._result = ReconcileResult()

    def hint(self) -> None:
        """A file may have changed."""
        self._schedule = self._schedule.with_hint()

    def unready_reason(self) -> str | None:
        """Why the mirrors are not all written, for a person; None if they are."""
        match self._schedule.last_intent:
            case Intent.WAIT:
                return "nothing written yet: the registry has not been ready"
            case Intent.RESTORE:
                return (
                    f"mirrors withdrawn: the registry was not ready for {self._schedule.withdraw_after_s:g} s"
                )
            case Intent.MIRROR:
                problems = self._result.problems
                more = len(problems) - SHOWN_PROBLEMS
                return (
                    "; ".join([*problems[:SHOWN_PROBLEMS], *([f"{more} more"] if more > 0 else [])]) or None
                )
            case unknown:
                assert_never(unknown)

    async def run(self) -> None:
        while True:
            ready = self._registry is None or bool(await self._registry.ready())
            before = self._schedule.intent
            self._schedule = self._schedule.probed(time.monotonic(), ready=ready)
            if self._schedule.intent is not before:
                self._log_intent()
            if self._schedule.is_due(time.monotonic()):
                await self._run_once()
            await asyncio.sleep(PROBE_EVERY_S)

    async def _run_once(self) -> None:
        intent = self._schedule.intent
        self._schedule = self._schedule.started(time.monotonic())
        result = await asyncio.to_thread(self._reconciled, intent)
        self._schedule = self._schedule.finished(
            intent, time.monotonic(), changed=bool(result.steps), failed=bool(result.failures)
        )
        self._result = result
        self._on_result(intent, result)

    def _reconciled(self, intent: Intent) -> ReconcileResult:
        try:
            return self._reconcile(intent, self._result)
        except ConfiguratorError as error:
            reason = str(error)
        if reason not in self._result.failures:
            log.error("nothing was changed", reason=reason)
        # Keep the notes: the next reconciliation does not log them again.
        return replace(self._result, steps=(), failures=(reason,))

    def _log_intent(self) -> None:
        if self._schedule.intent is Intent.RESTORE:
            log.warning(
                "registry is not ready, removing the mirrors", after_s=self._schedule.withdraw_after_s
            )
        elif self._registry is not None:
            log.info("registry is ready, writing the mirrors")
