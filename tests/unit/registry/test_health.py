"""One sentence says whether it works, and the next what mends it."""

from dataclasses import replace

import pytest

from heliograph_registry.debug.domain.health import Level, Situation, verdict
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.request_log import LoggedRequest
from heliograph_registry.mirror.domain.source import LOCAL, FromPeer
from tests.unit.registry.request_log_support import entry

WELL = Situation(
    unready=None,
    no_router=None,
    listed=True,
    peers=3,
    pulls=[entry(FromPeer("node-2"), at=96), *[entry(LOCAL)] * 40, *[entry(reason=Reason.NOT_FOUND)] * 9],
    errors=0,
    now=100.0,
    uptime_s=600.0,
)


def test_it_works_when_requests_are_served() -> None:
    judged = verdict(WELL)
    assert judged.level is Level.YES
    assert judged.answer == (
        "Yes: 3 peers, 41 of the last 50 requests were served in the cluster, last one 4 s ago from node-2."
    )
    assert judged.advice == ""


@pytest.mark.parametrize(
    ("change", "level", "says", "advises"),
    [
        ({"unready": "/content: not there"}, Level.NO, "/content: not there", "HELIOGRAPH_CONTENT_PATH"),
        ({"no_router": "UNAVAILABLE"}, Level.PARTLY, "no router answers", "HELIOGRAPH_ROUTER_TARGET"),
        ({"no_router": "UNAVAILABLE"}, Level.PARTLY, "3 peers known from before", "UNAVAILABLE"),
        ({"listed": False}, Level.PARTLY, "does not name it to others", "indexer"),
        ({"peers": 0}, Level.PARTLY, "no other node", "bus"),
        (
            {"pulls": []},
            Level.PARTLY,
            "Not yet: 3 peers, but nobody has pulled",
            "heliograph-configurator doctor",
        ),
        ({"pulls": [], "uptime_s": 7200}, Level.PARTLY, "in the 2 h since", "containerd"),
        ({"pulls": [entry(reason=Reason.NOT_FOUND)]}, Level.YES, "of no use yet", "goes upstream"),
        ({"pulls": [entry(reason=Reason.PEERS_FAILED)]}, Level.NO, "none of the last 1 request", "5000"),
        ({"pulls": [entry(LOCAL)]}, Level.YES, "the only request so far was served", ""),
        ({"errors": 2}, Level.PARTLY, "the doctor found 2 errors on this node; 3 peers", "mends"),
    ],
)
def test_what_is_wrong_is_said_with_what_mends_it(
    change: dict[str, list[LoggedRequest]], level: Level, says: str, advises: str
) -> None:
    judged = verdict(replace(WELL, **change))  # type: ignore[arg-type]
    assert judged.level is level
    assert says in judged.answer
    assert advises in judged.advice
    assert judged.answer.split(maxsplit=1)[0].rstrip(":,") in {"Yes", "No", "Partly", "Not"}
