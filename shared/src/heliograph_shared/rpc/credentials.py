"""TLS for gRPC from files that may be replaced while the service runs (see `tls`)."""

from dataclasses import dataclass

import grpc

from heliograph_shared.reloading import Reloading
from heliograph_shared.tls import TlsFiles


@dataclass(frozen=True, slots=True)
class Material:
    """Content of the files, for gRPC takes bytes."""

    certificate: bytes | None
    key: bytes | None
    ca: bytes | None


def channel_materials(files: TlsFiles) -> Reloading[Material]:
    """For `channel_credentials`. Raises `StartupError`."""
    return Reloading("tls-client", files.paths, lambda: _read(files))


def channel_credentials(material: Material) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(material.ca, material.key, material.certificate)


def server_credentials(files: TlsFiles, *, verify_clients: bool) -> grpc.ServerCredentials:
    """Each handshake uses the latest files; with `verify_clients` callers need a certificate of `files.ca`.

    Raises `StartupError`.
    """

    def load() -> grpc.ServerCertificateConfiguration:
        material = _read(files)
        pair = (material.key or b"", material.certificate or b"")
        return grpc.ssl_server_certificate_configuration([pair], material.ca)

    latest = Reloading("tls-server", files.paths, load)
    return grpc.dynamic_ssl_server_credentials(latest.current(), latest.current, verify_clients)


def _read(files: TlsFiles) -> Material:
    """Raises `OSError`, also for files that do not belong together, which gRPC would accept."""
    certificate, key, ca = (
        None if path is None else path.read_bytes() for path in (files.certificate, files.key, files.ca)
    )
    files.check()
    return Material(certificate, key, ca)
