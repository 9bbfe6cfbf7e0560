"""A CA without key usage: Python 3.13 and newer refuse it, older ones only in a context that is strict."""

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph_shared.runtime import StartupError
from heliograph_shared.tls import TlsFiles, client_contexts
from tests.support.authority import Authority, Identity
from tests.support.certificates import Authority as TrustmeAuthority

pytestmark = pytest.mark.processes  # openssl makes the certificates


@pytest.fixture
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts are as Python 3.13 makes them."""
    make: Callable[..., ssl.SSLContext] = ssl.create_default_context

    def strict(*, cafile: Path | None = None) -> ssl.SSLContext:
        context = make(cafile=cafile)
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    monkeypatch.setattr("heliograph_shared.tls.ssl.create_default_context", strict)


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Raises `ssl.SSLError` when the client refuses the server."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True):
                pass
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, client.wrap_socket(ours, server_hostname="127.0.0.1"):
            pass
    finally:
        thread.join()


def strict_context(ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def test_a_strict_handshake_fails_over_a_ca_without_key_usage(tmp_path: Path) -> None:
    authority = Authority(tmp_path, key_usage=False)
    with pytest.raises(ssl.SSLCertVerificationError, match="key usage"):
        shake_hands(strict_context(authority.certificate), authority.server(authority.sign("server")))


def test_the_authorities_of_the_tests_pass_a_strict_handshake(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "openssl")
    shake_hands(strict_context(authority.certificate), authority.server(authority.sign("server")))
    issued = TrustmeAuthority().issue(tmp_path / "trustme")
    server = authority.server(Identity(issued.certificate, issued.key))
    shake_hands(strict_context(issued.ca), server)


@pytest.mark.usefixtures("_strict")
def test_a_ca_without_key_usage_is_refused_at_start_up_and_named(tmp_path: Path) -> None:
    ca = Authority(tmp_path, key_usage=False).certificate
    with pytest.raises(StartupError, match=f"{ca}: .*keyUsage"):
        client_contexts(TlsFiles(ca=ca))


@pytest.mark.usefixtures("_strict")
def test_a_bundle_is_used_where_one_of_its_certificates_can_be(tmp_path: Path) -> None:
    good, bad = Authority(tmp_path, "good"), Authority(tmp_path, "bad", key_usage=False)
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(bad.certificate.read_bytes() + good.certificate.read_bytes())
    shake_hands(client_contexts(TlsFiles(ca=bundle)).current(), good.server(good.sign("server")))


@pytest.mark.usefixtures("_strict")
def test_a_server_may_be_trusted_by_its_own_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, key_usage=False)
    server = authority.sign("server")
    context = client_contexts(TlsFiles(ca=server.certificate)).current()
    shake_hands(context, authority.server(server))


@pytest.mark.skipif(
    bool(ssl.create_default_context().verify_flags & ssl.VERIFY_X509_STRICT), reason="this Python is strict"
)
def test_a_python_that_is_not_strict_takes_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path, key_usage=False)
    context = client_contexts(TlsFiles(ca=authority.certificate)).current()
    shake_hands(context, authority.server(authority.sign("server")))
