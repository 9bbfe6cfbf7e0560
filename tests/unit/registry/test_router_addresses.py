"""Which replicas a gRPC target stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.adapters.router_client.addresses import FixedTargets, Named, look_up, parse_target
from heliograph_shared.address import Address


@pytest.mark.parametrize(
    ("target", "replicas"),
    [
        ("ipv4:10.0.0.1:5001", ["ipv4:10.0.0.1:5001"]),
        ("ipv4:10.0.0.1:5001,10.0.0.2:5001", ["ipv4:10.0.0.1:5001", "ipv4:10.0.0.2:5001"]),
        ("ipv6:[::1]:5001,[::2]:5001", ["ipv6:[::1]:5001", "ipv6:[::2]:5001"]),
        ("dns:///127.0.0.1:5001", ["ipv4:127.0.0.1:5001"]),
        ("dns:///[fd00::1]:5001", ["ipv6:[fd00::1]:5001"]),
        ("127.0.0.1:5001", ["ipv4:127.0.0.1:5001"]),
        ("unix:/run/router.sock", ["unix:/run/router.sock"]),
        ("unix:///run/router.sock", ["unix:///run/router.sock"]),
        ("dns://10.0.0.10/router:5001", ["dns://10.0.0.10/router:5001"]),
        ("xds:///router", ["xds:///router"]),
        ("dns:///router", ["dns:///router"]),
    ],
)
def test_each_address_is_a_replica_and_what_only_grpc_understands_is_one(
    target: str, replicas: list[str]
) -> None:
    assert parse_target(target) == FixedTargets(tuple(replicas))


@pytest.mark.parametrize("scheme", ["dns:///", "dns:", ""])
def test_a_name_is_looked_up(scheme: str) -> None:
    assert parse_target(f"{scheme}router.ns.svc:5001") == Named(Address("router.ns.svc", 5001))


@given(st.text(max_size=40))
def test_any_text_is_a_target_of_bounded_size(text: str) -> None:
    parsed = parse_target(text)
    assert isinstance(parsed, Named) or len(parsed.targets) <= 32
    assert len(parse_target("ipv4:" + ",".join([text] * 100)).targets) <= 32  # type: ignore[union-attr]


async def test_a_name_has_each_of_its_addresses_once() -> None:
    found = await look_up(Address("localhost", 5001))
    assert "ipv4:127.0.0.1:5001" in found
    assert len(set(found)) == len(found)


async def test_a_name_that_dns_does_not_know_is_an_error() -> None:
    with pytest.raises(OSError, match=r"."):
        await look_up(Address("no-such-name.invalid", 5001))
