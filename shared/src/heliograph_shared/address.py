"""`host:port` in settings and on the wire; IPv6 in brackets, an empty host means all addresses."""

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


class InvalidAddress(ValueError):
    """The text is not `host:port`."""

    def __init__(self, text: str) -> None:
        super().__init__(f"not host:port: {text[:120]!r}")
        self.text = text


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `InvalidAddress`."""
        host, colon, port = text.strip().rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if bracketed:
            host = host[1:-1]
        if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5) or int(port) > 65535:
            raise InvalidAddress(text)
        if (":" in host) is not bracketed or any(character in host for character in "/@[] \t\r\n?#"):
            raise InvalidAddress(text)
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _parse(value: object) -> object:
    return Address.parse(value) if isinstance(value, str) else value


ListenAddress = Annotated[Address, NoDecode, BeforeValidator(_parse)]
