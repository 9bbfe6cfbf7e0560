import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from heliograph_shared.plain_http import PlainAnswer, get
from tests.support.ports import free_port


@contextmanager
def serving(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("status", [200, 204, 404, 503])
def test_every_status_is_an_answer(status: int) -> None:
    body = b"" if status == 204 else b"why"
    with serving(status, body) as url:
        assert get(url, timeout_s=5, max_bytes=100) == PlainAnswer(status, body)


@pytest.mark.parametrize("status", [200, 500])
def test_the_body_is_cut_at_its_bound(status: int) -> None:
    with serving(status, b"0123456789") as url:
        assert get(url, timeout_s=5, max_bytes=4).body == b"0123"
        assert get(url, timeout_s=5, max_bytes=0).body == b""


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(200, b"direct") as url:
        assert get(url, timeout_s=5, max_bytes=100).body == b"direct"


def test_a_closed_port_raises_what_the_system_says() -> None:
    with pytest.raises(ConnectionRefusedError):
        get(f"http://127.0.0.1:{free_port()}/", timeout_s=5, max_bytes=0)


def test_a_server_that_says_nothing_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        get(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.1, max_bytes=0)
