"""TLS by files that may be replaced while we run: each handshake uses what is there by then.

A change that cannot be used, a certificate without its key for instance, is logged and counted, and what was
read before stays (see `reloading`).
"""

import errno
import ssl
from dataclasses import dataclass
from pathlib import Path

from heliograph_shared.reloading import Reloading

_HTTP = ["http/1.1"]
_KEY_USAGE = bytes.fromhex("0603551d0f")  # the extension's OID, 2.5.29.15, in DER (RFC 5280, section 4.2.1.3)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM: our own certificate and its key, both or none, and those whom we believe; none: the system's."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    @property
    def paths(self) -> list[Path]:
        return [path for path in (self.certificate, self.key, self.ca) if path is not None]

    def show(self, context: ssl.SSLContext) -> None:
        """Let `context` present our certificate, if there is one. Raises `OSError`."""
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)

    def check(self) -> None:
        """Raises `OSError` when they cannot be used, together."""
        context = ssl.create_default_context(cafile=self.ca)
        self.show(context)


def client_contexts(files: TlsFiles, *, checks_name: bool = True) -> Reloading[ssl.SSLContext]:
    """For connections to servers, whose certificate must name them unless told otherwise.

    Raises `StartupError`.
    """

    def load() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=files.ca)
        if files.ca is not None:
            check_key_usage(context, files.ca)
        context.check_hostname = checks_name
        files.show(context)
        return context

    return Reloading("tls-client", files.paths, load)


def check_key_usage(context: ssl.SSLContext, ca: Path) -> None:
    """Check that `context`, which has loaded `ca` only, can verify any peer.

    From Python 3.13 on, default contexts are strict: they refuse a peer whose CA certificate has no key
    usage, and `openssl req -x509` makes such certificates. Raises `OSError` when all certificates in `ca` are
    like that; when only some are, peers of the others can be verified.
    """
    if not context.verify_flags & ssl.VERIFY_X509_STRICT:
        return
    authorities = context.get_ca_certs(binary_form=True)
    if context.cert_store_stats()["x509"] > len(authorities):
        return  # a peer's own certificate, which needs no key usage
    if not any(_KEY_USAGE in certificate for certificate in authorities):
        reason = "the CA certificate has no keyUsage extension, so Python 3.13 or newer refuses it"
        raise OSError(errno.EINVAL, f"{reason}; issue it again with keyUsage=critical,keyCertSign", str(ca))


def http_server_context(files: TlsFiles, *, verify_clients: bool) -> ssl.SSLContext:
    """TLS 1.3 for a server of HTTP/1.1; always the same one, which hands each handshake to the latest.

    With `verify_clients` callers must present a certificate that `files.ca` signed. Raises `StartupError`.
    """

    def load() -> ssl.SSLContext:
        context = _bare(verify_clients=verify_clients)
        files.show(context)
        if verify_clients:
            context.load_verify_locations(files.ca)
        return context

    contexts = Reloading("tls-server", files.paths, load)

    def hand_over(connection: ssl.SSLObject, _name: str | None, _front: ssl.SSLContext) -> None:
        connection.context = contexts.current()

    front = _bare(verify_clients=verify_clients)
    front.sni_callback = hand_over  # called without a name, too
    return front


def _bare(*, verify_clients: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # a session that is resumed would outlive the certificates it began with
    context.set_alpn_protocols(_HTTP)
    if verify_clients:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    """Instead of a question on a terminal."""
    raise ValueError("the key is encrypted, which is not supported")
