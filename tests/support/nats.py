"""The real nats-server, from the wheel that is also the embedded default."""

import json
import signal
import socket
import sysconfig
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port, is_free
from tests.support.process import Process
from tests.support.waiting import eventually

BINARY = Path(sysconfig.get_path("scripts")) / "nats-server"


class NatsServer:
    """A server on its own port, kept over restarts.

    `arguments` are added to its command line. Its log is `<directory>/nats-<port>.log`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        arguments: Sequence[str | Path] = (),
        scheme: str = "nats",
    ) -> None:
        self.host, self._scheme = host, scheme
        self.port = port or free_port(host)
        self.name = f"heliograph-test-{uuid.uuid4().hex}"
        self.process = Process(
            f"nats-server on port {self.port}",
            [BINARY, "-a", host, "-p", str(self.port), "--name", self.name, *arguments],
            directory / f"nats-{self.port}.log",
        )

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}:{self.port}"

    async def start(self, within: float = 20.0) -> None:
        """Return once it answers. Refuses a port that some other program holds."""
        if not is_free(self.port, self.host):
            raise RuntimeError(f"port {self.port} on {self.host} is taken by another program")
        self.process.start()
        await eventually(self._answers, within, lambda: f"nats-server is not ready:\n{self.process.tail()}")

    async def stop(self) -> None:
        await self.process.stop()

    async def kill(self) -> None:
        await self.process.kill()

    async def restart(self) -> None:
        """Stop it if it runs, and start it on the same port."""
        await self.stop()
        await self.start()

    def pause(self) -> None:
        """Stop answering without closing any connection, as a stalled machine does."""
        self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send(signal.SIGCONT)

    def _answers(self) -> bool:
        self.process.check()
        try:
            with (
                socket.create_connection((self.host, self.port), timeout=1) as connection,
                connection.makefile("rb") as lines,
            ):
                word, _, info = lines.readline().partition(b" ")
                return word == b"INFO" and json.loads(info)["server_name"] == self.name
        except (OSError, ValueError):
            return False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
