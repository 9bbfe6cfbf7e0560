"""For each alert, series that make it fire, and series of a healthy cluster that is close to it but does not.

Values are promtool's notation: `0+10x60` starts at 0 and grows by 10 for 60 minutes; `1x60` stays 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Series = Mapping[str, str]

_REQUESTS = "heliograph_registry_requests_total"


@dataclass(frozen=True, slots=True)
class Case:
    """It fires at the minute `at` with these labels; with none of the `quiet` series it does."""

    fires: Series
    quiet: Sequence[Series]
    labels: Mapping[str, str] = field(default_factory=dict)
    at: int = 60


def _requests(pods: int = 1, **labels: str) -> str:
    shown = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f'{_REQUESTS}{{requester="client",kind="blob",pod="n{pods}",{shown}}}'


def _served(rate: int) -> dict[str, str]:
    return {_requests(outcome="peer", reason="none"): f"0+{rate}x480"}


def _missed(rate: int, reason: str) -> dict[str, str]:
    return {_requests(outcome="missed", reason=reason): f"0+{rate}x480"}


def _lags(
    under: str, over: str, rate_under: int, rate_over: int, name: str, more: str = ""
) -> dict[str, str]:
    """A histogram with events up to one bound and up to a higher one."""
    return {
        f'{name}_bucket{{{more}le="{under}"}}': f"0+{rate_under}x480",
        f'{name}_bucket{{{more}le="{over}"}}': f"0+{rate_under + rate_over}x480",
        f'{name}_bucket{{{more}le="+Inf"}}': f"0+{rate_under + rate_over}x480",
    }


_LAG = "heliograph_router_event_lag_seconds"
_FIRST_BYTE = "heliograph_registry_first_byte_seconds"
_DROPPED = "heliograph_router_messages_dropped_total"
_NODES = 'heliograph_router_nodes{pod="r",state="%s"}'
_RELOADS = 'heliograph_file_reloads_total{pod="n1",container="registry",file="tls-server",outcome="%s"}'
_UP = {"job": "heliograph-node", "container": "registry"}


def _up(values: Sequence[int]) -> dict[str, str]:
    return {
        f'up{{job="heliograph-node",container="registry",pod="n{number}"}}': f"{value}x480"
        for number, value in enumerate(values)
    }


def _per_pod(name: str, values: Sequence[int]) -> dict[str, str]:
    return {f'{name}{{pod="n{number}"}}': f"{value}x480" for number, value in enumerate(values)}


CASES: dict[str, Case] = {
    "HeliographNoRouterReady": Case(
        {'heliograph_router_ready{pod="a"}': "0x480", 'heliograph_router_ready{pod="b"}': "0x480"},
        [{'heliograph_router_ready{pod="a"}': "0x480", 'heliograph_router_ready{pod="b"}': "1x480"}],
    ),
    "HeliographRouterWithoutBus": Case(
        {
            'heliograph_router_bus_connected{pod="a"}': "0x480",
            'heliograph_router_bus_connected{pod="b"}': "1x480",
        },
        [{'heliograph_router_bus_connected{pod="a"}': "1x57 0 0 0"}],
        {"pod": "a"},
    ),
    "HeliographLeasesFrozen": Case(
        {'heliograph_router_leases{pod="a",state="frozen"}': "9x480"},
        [
            {
                'heliograph_router_leases{pod="a",state="frozen"}': "0x480",
                'heliograph_router_leases{pod="a",state="running"}': "9x480",
            },
            {'heliograph_router_leases{pod="a",state="frozen"}': "0x55 9 9 9 9 9"},  # after a reconnect
        ],
        {"pod": "a", "state": "frozen"},
    ),
    "HeliographNodesOutOfSync": Case(
        {_NODES % "syncing": "10x480", _NODES % "in_sync": "90x480"},
        [
            {_NODES % "syncing": "4x480", _NODES % "in_sync": "96x480"},
            {_NODES % "syncing": "0x480", _NODES % "in_sync": "0x480"},  # no nodes yet
        ],
        {"pod": "r"},
    ),
    "HeliographNodesHeld": Case(
        {'heliograph_router_nodes_stale{pod="r"}': "40x480"},
        [{'heliograph_router_nodes_stale{pod="r"}': "0x480"}],
    ),
    "HeliographNodeNameShared": Case(
        {'heliograph_router_shared_node_names{pod="r"}': "1x480"},
        [{'heliograph_router_shared_node_names{pod="r"}': "0x480"}],
    ),
    "HeliographChangesLate": Case(
        _lags("5", "15", 8, 2, _LAG), [_lags("0.1", "15", 95, 5, _LAG), _lags("0.1", "15", 0, 0, _LAG)]
    ),
    "HeliographMessagesRefused": Case(
        {f'{_DROPPED}{{pod="r",reason="malformed"}}': "0+1x480"},
        [
            {f'{_DROPPED}{{pod="r",reason="malformed"}}': "3x480"},
            {
                f'{_DROPPED}{{pod="r",reason="stale"}}': "0+1x480",
                f'{_DROPPED}{{pod="r",reason="repeated"}}': "0+1x480",
            },
        ],
        {"reason": "malformed"},
    ),
    "HeliographTargetsDown": Case(_up([0, 0, *[1] * 8]), [_up([0, *[1] * 9]), _up([1])], _UP),
    "HeliographIndexersWithoutBus": Case(
        _per_pod("heliograph_indexer_bus_connected", [0, 0, *[1] * 8]),
        [_per_pod("heliograph_indexer_bus_connected", [0, *[1] * 9])],
    ),
    "HeliographStoreNotFollowed": Case(
        _per_pod("heliograph_indexer_store_watched", [0, 1]),
        [{'heliograph_indexer_store_watched{pod="n0"}': "1x55 0 0 0 0 0"}],
        {"pod": "n0"},
    ),
    "HeliographNodeNotNamed": Case(
        {
            **_per_pod("heliograph_indexer_advertised_addresses", [0, 1]),
            **_per_pod("heliograph_indexer_bus_connected", [1, 1]),
        },
        [
            {
                **_per_pod("heliograph_indexer_advertised_addresses", [0]),
                **_per_pod("heliograph_indexer_bus_connected", [0]),
            }
        ],
        {"pod": "n0"},
    ),
    "HeliographDoctorFinds": Case(
        {'heliograph_doctor_findings{pod="a",check="cri-unavailable",severity="error"}': "2x480"},
        [
            {'heliograph_doctor_findings{pod="a",check="cri-unavailable",severity="warning"}': "2x480"},
            {'heliograph_doctor_findings{pod="a",check="cri-unavailable",severity="error"}': "0x480"},
        ],
        {"check": "cri-unavailable"},
    ),
    "HeliographMirrorsNotWritten": Case(
        _per_pod("heliograph_configurator_mirrors_written", [0, 1]),
        [{'heliograph_configurator_mirrors_written{pod="n0"}': "1x50 0x10"}],
        {"pod": "n0"},
    ),
    "HeliographReloadFailed": Case(
        {_RELOADS % "failed": "_x100 1x300"},  # the first one
        [{_RELOADS % "failed": "1x480"}, {_RELOADS % "ok": "0+1x480"}],
        {"pod": "n1", "container": "registry", "file": "tls-server"},
        at=120,
    ),
    "HeliographNothingMirrored": Case(
        {**_missed(1, "not-found"), _NODES % "in_sync": "3x480"},
        [
            {
                **_missed(1, "not-found"),
                _requests(outcome="peer", reason="none"): "0x300 1x180",
                _NODES % "in_sync": "3x480",
            },
            {**_missed(1, "not-found"), _NODES % "in_sync": "1x480"},  # there is no other node
            {**_missed(1, "filtered"), _NODES % "in_sync": "3x480"},
        ],
        at=450,
    ),
    "HeliographRoutersDoNotAnswer": Case(
        {**_served(8), **_missed(2, "resolver-unavailable")},
        [{**_served(95), **_missed(5, "resolver-unavailable")}, {**_served(8), **_missed(2, "not-found")}],
    ),
    "HeliographPeersDoNotDeliver": Case(
        {
            **_served(8),
            **_missed(1, "peers-failed"),
            _requests(pods=2, outcome="missed", reason="timeout"): "0+1x480",
        },
        [{**_served(95), **_missed(5, "peers-failed")}],
    ),
    "HeliographAnswersBroken": Case(
        {**_served(8), _requests(outcome="broken", reason="none"): "0+1x480"},
        [{**_served(99), _requests(outcome="broken", reason="none"): "0+1x480"}],
    ),
    "HeliographSlowMisses": Case(
        _lags("0.3", "3", 90, 10, _FIRST_BYTE, 'kind="manifest",source="none",'),
        [
            _lags("0.3", "3", 10_000, 10, _FIRST_BYTE, 'kind="manifest",source="none",'),
            _lags("0.3", "60", 1, 10, _FIRST_BYTE, 'kind="blob",source="none",'),  # with HELIOGRAPH_WAIT_MS
        ],
    ),
    "HeliographBusy": Case(
        {_requests(outcome="refused", reason="busy"): "0+1x480"},
        [{_requests(outcome="refused", reason="busy"): "0x30 5x450"}],
        {"pod": "n1"},
    ),
    "HeliographWrongBytes": Case(
        {'heliograph_registry_verified_blobs_total{pod="n1",outcome="mismatch"}': "0x30 1x450"},
        [{'heliograph_registry_verified_blobs_total{pod="n1",outcome="verified"}': "0+1x480"}],
        {"pod": "n1"},
    ),
    "HeliographDefect": Case(
        {_requests(outcome="failed", reason="none"): "_x100 1x300"},  # the first one
        [_served(10), {_requests(outcome="failed", reason="none"): "1x480"}],
        {"pod": "n1"},
        at=120,
    ),
}
