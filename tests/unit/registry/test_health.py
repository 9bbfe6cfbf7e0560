"""The verdict says in one sentence whether the mirror works, and its advice how to fix it."""

from dataclasses import replace

import pytest

from heliograph_registry.debug.domain.health import HealthCode, HealthInputs, Level, verdict
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.request_log import LoggedRequest
from heliograph_registry.mirror.domain.source import LOCAL, FromPeer
from tests.unit.registry.request_log_support import entry

WELL = HealthInputs(
    unready=None,
    router_error=None,
    listed=True,
    peers=3,
    pulls=[entry(FromPeer("node-2"), at=96), *[entry(LOCAL)] * 40, *[entry(reason=Reason.NOT_FOUND)] * 9],
    errors=0,
    now=100.0,
    uptime_s=600.0,
)


def test_it_works_when_requests_are_served() -> None:
    judged = verdict(WELL)
    assert (judged.level, judged.code, judged.advice) == (Level.YES, HealthCode.SERVED, "")
    assert judged.answer.startswith("Yes: 3 peers")
    for detail in ("41 of the last 50 requests", "4 s ago from node-2"):
        assert detail in judged.answer


@pytest.mark.parametrize(
    ("change", "level", "code", "says", "advises"),
    [
        (
            {"unready": "/content: not there"},
            Level.NO,
            HealthCode.NOT_READY,
            "/content: not there",
            "HELIOGRAPH_CONTENT_PATH",
        ),
        (
            {"router_error": "UNAVAILABLE"},
            Level.PARTLY,
            HealthCode.NO_ROUTER,
            "3 remembered peers",
            "HELIOGRAPH_ROUTER_TARGET",
        ),
        ({"router_error": "UNAVAILABLE"}, Level.PARTLY, HealthCode.NO_ROUTER, "router", "UNAVAILABLE"),
        ({"listed": False}, Level.PARTLY, HealthCode.NOT_LISTED, "3 peers", "indexer"),
        ({"peers": 0}, Level.PARTLY, HealthCode.NO_PEERS, "no other node", "bus"),
        ({"pulls": []}, Level.PARTLY, HealthCode.NO_PULLS, "3 peers", "heliograph-configurator doctor"),
        ({"pulls": [], "uptime_s": 7200}, Level.PARTLY, HealthCode.NO_PULLS, "2 h", "containerd"),
        (
            {"pulls": [entry(reason=Reason.NOT_FOUND)]},
            Level.YES,
            HealthCode.MISSES_ONLY,
            "only request",
            "upstream",
        ),
        (
            {"pulls": [entry(reason=Reason.PEERS_FAILED)]},
            Level.NO,
            HealthCode.FAILING,
            "only request",
            "5000",
        ),
        (
            {"pulls": [entry(reason=Reason.PEERS_FAILED)] * 2 + [entry(reason=Reason.NOT_FOUND)]},
            Level.NO,
            HealthCode.FAILING,
            "the last 3 requests",
            "5000",
        ),
        ({"pulls": [entry(LOCAL)]}, Level.YES, HealthCode.SERVED, "only request", ""),
        ({"errors": 2}, Level.PARTLY, HealthCode.DOCTOR_ERRORS, "2 errors on this node; 3 peers", "fix"),
    ],
)
def test_what_is_wrong_is_said_with_how_to_fix_it(
    change: dict[str, list[LoggedRequest]], level: Level, code: HealthCode, says: str, advises: str
) -> None:
    judged = verdict(replace(WELL, **change))  # type: ignore[arg-type]
    assert (judged.level, judged.code) == (level, code)
    assert says in judged.answer
    assert advises in judged.advice
    first_words = {Level.YES: ("Yes", "Working"), Level.PARTLY: ("Partly", "Not yet"), Level.NO: ("No:",)}
    assert judged.answer.startswith(first_words[level])


def test_a_shared_node_name_is_told_with_both_addresses() -> None:
    given = verdict(replace(WELL, sharing_name=("10.0.0.1:5000", "10.0.0.2:5000")))
    assert (given.level, given.code) == (Level.PARTLY, HealthCode.NAME_SHARED)
    assert "10.0.0.1:5000" in given.advice
    assert "10.0.0.2:5000" in given.advice
