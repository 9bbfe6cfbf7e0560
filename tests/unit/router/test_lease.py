"""Leases, by the router's clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_router.domain.lease import Leases
from tests.unit.router.simulated import moment

LEASE_S = 30.0


@pytest.fixture
def leases() -> Leases:
    leases = Leases(LEASE_S)
    leases.link_works(moment(-LEASE_S))
    return leases


def test_a_lease_expires_after_its_length_without_a_message(leases: Leases) -> None:
    leases.renew("a", moment(0))
    leases.renew("b", moment(10))
    assert leases.expired(moment(29.9)) == []
    assert leases.expired(moment(30)) == ["a"]
    assert leases.expired(moment(40)) == ["a", "b"]
    assert leases.left_s("b", moment(30)) == 10


def test_a_message_renews_the_lease(leases: Leases) -> None:
    leases.renew("a", moment(0))
    leases.renew("b", moment(1))
    leases.renew("a", moment(20))
    assert leases.expired(moment(31)) == ["b"]


def test_no_lease_expires_while_the_link_is_down_and_for_one_lease_after(leases: Leases) -> None:
    leases.renew("a", moment(0))
    leases.link_lost()
    assert leases.expired(moment(1000)) == []
    assert leases.left_s("a", moment(1000)) == LEASE_S
    leases.link_works(moment(1000))
    leases.link_works(moment(1020))
    assert leases.expired(moment(1029.9)) == []
    assert leases.left_s("a", moment(1020)) == 10
    assert leases.expired(moment(1030)) == ["a"]


def test_no_lease_expires_before_the_first_connection() -> None:
    leases = Leases(LEASE_S)
    leases.renew("a", moment(0))
    assert leases.expired(moment(1e6)) == []


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 20)), max_size=30), st.floats(0, 100))
def test_a_lease_counts_from_the_last_renewal(renewals: list[tuple[str, float]], pause_s: float) -> None:
    leases, now, last = Leases(LEASE_S), 0.0, dict[str, float]()
    leases.link_works(moment(-LEASE_S))
    for node, step in renewals:
        now += step
        last[node] = now
        leases.renew(node, moment(now))
    now += pause_s
    expected = {
        node for node, at in last.items() if moment(now).monotonic_s - moment(at).monotonic_s >= LEASE_S
    }
    assert set(leases.expired(moment(now))) == expected
