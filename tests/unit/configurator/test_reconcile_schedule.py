"""When a watch reconciles certs.d, and with what intent, whatever the registry and other programs do."""

from dataclasses import dataclass, field
from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from heliograph_configurator.domain.reconcile_schedule import (
    FAST_RUNS,
    MIN_INTERVAL_S,
    RECONCILE_EVERY_S,
    Intent,
    ReconcileSchedule,
)

WITHDRAW_AFTER_S = 60.0


@dataclass(frozen=True)
class Second:
    """What happens in one second, and the result of a run if one starts in it."""

    ready: bool
    hinted: bool = False
    changed: bool = False
    failed: bool = False


@dataclass
class Simulation:
    """Steps a schedule second by second, as the watch does."""

    schedule: ReconcileSchedule = field(
        default_factory=lambda: ReconcileSchedule(WITHDRAW_AFTER_S, ready_at=0)
    )
    now: float = 0
    runs: list[tuple[float, Intent]] = field(default_factory=list)
    intents: list[Intent] = field(default_factory=list)

    def step(self, second: Second) -> None:
        self.now += 1
        if second.hinted:
            self.schedule = self.schedule.with_hint()
        self.schedule = self.schedule.probed(self.now, ready=second.ready)
        self.intents.append(self.schedule.intent)
        if self.schedule.is_due(self.now):
            intent = self.schedule.intent
            self.runs.append((self.now, intent))
            self.schedule = self.schedule.started(self.now)
            self.schedule = self.schedule.finished(
                intent, self.now, changed=second.changed, failed=second.failed
            )


def simulated(seconds: list[Second]) -> Simulation:
    simulation = Simulation()
    for second in seconds:
        simulation.step(second)
    return simulation


any_second = st.builds(
    Second, ready=st.booleans(), hinted=st.booleans(), changed=st.booleans(), failed=st.booleans()
)
repeated = st.tuples(any_second, st.integers(1, 150)).map(lambda spell: [spell[0]] * spell[1])
histories = st.lists(repeated | st.lists(any_second, max_size=10), max_size=6).map(
    lambda parts: list(chain(*parts))
)


def unready_seconds(seconds: list[Second], at: int) -> int:
    """Seconds without a ready registry that end with `at`."""
    count = 0
    while count <= at and not seconds[at - count].ready:
        count += 1
    return count


@given(histories)
def test_the_registry_alone_decides_the_intent(seconds: list[Second]) -> None:
    for at, intent in enumerate(simulated(seconds).intents):
        unready = unready_seconds(seconds, at)
        if unready == 0:
            assert intent is Intent.MIRROR
        elif unready >= WITHDRAW_AFTER_S:
            assert intent is Intent.RESTORE
        elif unready > at:
            assert intent is Intent.WAIT, "nothing is written before the registry was ready"
        else:
            assert intent is not Intent.WAIT
    assert all(intent is not Intent.WAIT for _, intent in simulated(seconds).runs)


@given(histories)
def test_a_new_intent_is_acted_on_at_once(seconds: list[Second]) -> None:
    simulation = simulated(seconds)
    done = Intent.WAIT
    runs = dict(simulation.runs)
    for at, intent in enumerate(simulation.intents, 1):
        if intent is not done:
            assert runs[at] is intent
            done = intent


@given(histories)
def test_the_interval_between_runs_has_a_minimum_and_a_maximum(seconds: list[Second]) -> None:
    simulation = simulated(seconds)
    times = [at for at, _ in simulation.runs]
    assert all(later - earlier >= MIN_INTERVAL_S for earlier, later in pairwise(times))
    if times:
        assert all(
            later - earlier <= RECONCILE_EVERY_S for earlier, later in pairwise([*times, simulation.now])
        )


@given(histories)
def test_after_a_calm_time_a_hint_is_followed_at_the_shortest_interval(seconds: list[Second]) -> None:
    calm = [Second(ready=True)] * int(3 * RECONCILE_EVERY_S)
    simulation = simulated([*seconds, *calm])
    simulation.step(Second(ready=True))
    simulation.step(Second(ready=True))
    simulation.step(Second(ready=True, hinted=True))
    assert simulation.now - simulation.runs[-1][0] <= MIN_INTERVAL_S


@given(st.integers(100, 600), st.sampled_from(["changed", "failed"]))
def test_runs_become_rare_while_each_one_finds_work(length: int, reason: str) -> None:
    busy = Second(ready=True, hinted=True, changed=reason == "changed", failed=reason == "failed")
    runs = simulated([busy] * length).runs
    assert len(runs) <= FAST_RUNS + 6 + length / RECONCILE_EVERY_S


def test_a_failed_run_is_repeated_without_a_hint() -> None:
    simulation = simulated([Second(ready=True, failed=True), *[Second(ready=True)] * 3])
    assert [at for at, _ in simulation.runs] == [1, 2]


def test_the_first_few_changes_are_fixed_at_once() -> None:
    seconds = [Second(ready=True)] + [Second(ready=True, hinted=True, changed=True)] * FAST_RUNS
    assert len(simulated(seconds).runs) == len(seconds)


def test_a_hint_during_a_run_asks_for_another_one() -> None:
    schedule = ReconcileSchedule(WITHDRAW_AFTER_S, ready_at=0).probed(1, ready=True).started(1).with_hint()
    schedule = schedule.finished(Intent.MIRROR, 1.5, changed=True, failed=False)
    assert not schedule.is_due(1.9)
    assert schedule.is_due(2)
