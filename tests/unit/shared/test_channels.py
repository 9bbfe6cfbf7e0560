"""gRPC channels that no proxy of the environment can capture."""

import socket

import pytest

from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.channels import direct_channel
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub
from tests.support.ports import free_port
from tests.support.resolver import KnownContent, serve_resolver


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
async def test_a_call_does_not_go_through_the_proxy(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        port = free_port()
        async with (
            serve_resolver(KnownContent(), port),
            direct_channel(f"dns:///127.0.0.1:{port}") as channel,
        ):
            answer = await ResolverStub(channel).Stats(pb.StatsRequest(), timeout=10)
        assert answer.ready
        with pytest.raises(BlockingIOError):
            proxy.accept()
