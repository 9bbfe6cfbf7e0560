"""When certs.d is looked at, and what for, whatever the registry and other hands do."""

from dataclasses import dataclass, field
from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from heliograph_configurator.domain.course import LOOK_EVERY_S, PAUSE_S, QUICK_LOOKS, Course, Intent

WITHDRAW_AFTER_S = 60.0


@dataclass(frozen=True)
class Second:
    """What one second brings, and what came of a look if there is one in it."""

    ready: bool
    hinted: bool = False
    changed: bool = False
    failed: bool = False


@dataclass
class Driven:
    """A course taken second by second, as the watch does."""

    course: Course = field(default_factory=lambda: Course(WITHDRAW_AFTER_S, ready_at=0))
    now: float = 0
    looks: list[tuple[float, Intent]] = field(default_factory=list)
    intents: list[Intent] = field(default_factory=list)

    def live(self, second: Second) -> None:
        self.now += 1
        if second.hinted:
            self.course = self.course.told()
        self.course = self.course.probed(self.now, ready=second.ready)
        self.intents.append(self.course.intent)
        if self.course.is_due(self.now):
            intent = self.course.intent
            self.looks.append((self.now, intent))
            self.course = self.course.looking(self.now)
            self.course = self.course.looked(intent, self.now, changed=second.changed, failed=second.failed)


def driven(seconds: list[Second]) -> Driven:
    watch = Driven()
    for second in seconds:
        watch.live(second)
    return watch


noises = st.builds(
    Second, ready=st.booleans(), hinted=st.booleans(), changed=st.booleans(), failed=st.booleans()
)
spells = st.tuples(noises, st.integers(1, 150)).map(lambda spell: [spell[0]] * spell[1])
lives = st.lists(spells | st.lists(noises, max_size=10), max_size=6).map(lambda parts: list(chain(*parts)))


def quiet_since_ready(seconds: list[Second], at: int) -> int:
    """Seconds without a ready registry that end with `at`."""
    count = 0
    while count <= at and not seconds[at - count].ready:
        count += 1
    return count


@given(lives)
def test_the_registry_alone_decides_what_is_wanted(seconds: list[Second]) -> None:
    for at, intent in enumerate(driven(seconds).intents):
        quiet = quiet_since_ready(seconds, at)
        if quiet == 0:
            assert intent is Intent.MIRROR
        elif quiet >= WITHDRAW_AFTER_S:
            assert intent is Intent.RESTORE
        elif quiet > at:
            assert intent is Intent.WAIT, "nothing is written before the registry was ready"
        else:
            assert intent is not Intent.WAIT
    assert all(intent is not Intent.WAIT for _, intent in driven(seconds).looks)


@given(lives)
def test_what_is_wanted_newly_is_done_at_once(seconds: list[Second]) -> None:
    watch = driven(seconds)
    done = Intent.WAIT
    looks = dict(watch.looks)
    for at, intent in enumerate(watch.intents, 1):
        if intent is not done:
            assert looks[at] is intent
            done = intent


@given(lives)
def test_looks_are_never_far_apart_nor_more_than_one_a_pause(seconds: list[Second]) -> None:
    watch = driven(seconds)
    times = [at for at, _ in watch.looks]
    assert all(later - earlier >= PAUSE_S for earlier, later in pairwise(times))
    if times:
        assert all(later - earlier <= LOOK_EVERY_S for earlier, later in pairwise([*times, watch.now]))


@given(lives)
def test_a_hint_is_followed_within_the_longest_pause_and_at_once_after_quiet(seconds: list[Second]) -> None:
    calm = [Second(ready=True)] * int(3 * LOOK_EVERY_S)
    watch = driven([*seconds, *calm])
    watch.live(Second(ready=True))
    watch.live(Second(ready=True))
    watch.live(Second(ready=True, hinted=True))
    assert watch.now - watch.looks[-1][0] <= PAUSE_S


@given(st.integers(100, 600), st.sampled_from(["changed", "failed"]))
def test_a_fight_is_not_fought_at_every_blow(length: int, reason: str) -> None:
    blow = Second(ready=True, hinted=True, changed=reason == "changed", failed=reason == "failed")
    looks = driven([blow] * length).looks
    assert len(looks) <= QUICK_LOOKS + 6 + length / LOOK_EVERY_S


def test_what_has_failed_is_tried_again_without_a_hint() -> None:
    watch = driven([Second(ready=True, failed=True), *[Second(ready=True)] * 3])
    assert [at for at, _ in watch.looks] == [1, 2]


def test_a_few_things_are_mended_at_once() -> None:
    blows = [Second(ready=True)] + [Second(ready=True, hinted=True, changed=True)] * QUICK_LOOKS
    assert len(driven(blows).looks) == len(blows)


def test_a_hint_during_a_look_asks_for_another_one() -> None:
    course = Course(WITHDRAW_AFTER_S, ready_at=0).probed(1, ready=True).looking(1).told()
    course = course.looked(Intent.MIRROR, 1.5, changed=True, failed=False)
    assert not course.is_due(1.9)
    assert course.is_due(2)
