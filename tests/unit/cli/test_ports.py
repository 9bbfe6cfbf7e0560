import socket

from heliograph_cli.ports import HOST, Ports


def test_clusters_at_the_same_time_get_ports_of_their_own() -> None:
    with Ports() as first, Ports() as second:
        mine, yours = {first.take() for _ in range(5)}, {second.take() for _ in range(5)}
    assert len(mine | yours) == 10


def test_a_port_that_another_program_has_is_left_out() -> None:
    with Ports() as ports:
        port = ports.take()
    with socket.create_server((HOST, port)), Ports() as ports:
        assert ports.take() != port


def test_ports_are_the_same_again_once_they_are_given_back() -> None:
    with Ports() as probe:
        base = probe.take()
    for _ in range(2):
        with Ports() as ports:
            assert ports.take() == base
