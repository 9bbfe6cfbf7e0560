"""Credentials and CAs for talking to the services, read from files."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from heliograph_cli.errors import UnusableFile
from heliograph_shared.accounts import InvalidAccounts, read_accounts
from heliograph_shared.bus_client import Access
from heliograph_shared.rpc.credentials import channel_credentials, channel_materials
from heliograph_shared.tls import TlsFiles, client_contexts


@dataclass(frozen=True, slots=True)
class ClientTls:
    """`server_name` is the name in the server's certificate, if that is not the address.

    All methods raise `StartupError` when the files cannot be used.
    """

    files: TlsFiles = field(default_factory=TlsFiles)
    server_name: str = ""

    def context(self) -> ssl.SSLContext:
        return client_contexts(self.files).current()

    def credentials(self) -> grpc.ChannelCredentials | None:
        """For gRPC, whose targets cannot ask for TLS: None, without TLS, if no file is named."""
        if not self.files.paths:
            return None
        return channel_credentials(channel_materials(self.files).current())

    def access(self, servers: Sequence[str], user_file: Path | None) -> Access:
        return Access.by_files(servers, user_file, self.files)


def authorization_of(basic_auth_file: Path | None) -> str:
    """Value of the `Authorization` header for the file's first account, empty without a file.

    Raises `UnusableFile`.
    """
    if basic_auth_file is None:
        return ""
    try:
        return read_accounts(basic_auth_file)[0].authorization
    except OSError as error:
        raise UnusableFile(basic_auth_file, error.strerror or str(error)) from error
    except InvalidAccounts as error:
        raise UnusableFile(basic_auth_file, str(error)) from error
