"""The registry that the mirror stands in for: Debian's docker-registry as a process."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.support.machines import docker_registry
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.waiting import eventually

CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: false}}}}
storage:
  filesystem: {{rootdirectory: "{storage}"}}
  cache: {{blobdescriptor: inmemory}}
  delete: {{enabled: true}}
http: {{addr: "{address}", secret: "of the tests"}}
"""

# The Apache combined log format, as docker-registry 2.8 writes it to its standard output.
ACCESS = re.compile(
    r'^\S+ - - \[[^\]]+\] "(?P<method>[A-Z]+) (?P<target>\S+) HTTP/[\d.]+" '
    r'(?P<status>\d+) (?P<size>\d+) "[^"]*" "(?P<agent>[^"]*)"',
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the access log. `namespace` is the `ns` that a mirror is told, or empty."""

    method: str
    path: str
    namespace: str
    status: int
    size_bytes: int
    user_agent: str


class Upstream:
    """A registry on its own port, kept over restarts, with its storage below `directory`."""

    def __init__(self, directory: Path, *, host: str = "127.0.0.1") -> None:
        self.host, self.port = host, free_port(host)
        config = directory / "upstream.yml"
        config.write_text(CONFIG.format(storage=directory / "upstream", address=f"{host}:{self.port}"))
        self.process = Process(
            f"docker-registry on port {self.port}",
            [docker_registry(), "serve", config],
            directory / "upstream.log",
            environment={"OTEL_TRACES_EXPORTER": "none"},
        )
        self._forgotten = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def start(self, within: float = 20.0) -> None:
        """Return once it answers."""
        self.process.start()
        await eventually(self._answers, within, lambda: f"not ready:\n{self.process.tail()}")

    async def stop(self) -> None:
        await self.process.stop()

    def requests(self) -> list[Request]:
        """Who asked for what since the start or the last `forget`, readiness probes left out.

        A line is written after the answer was sent: poll for one that must come.
        """
        log = self.process.log.read_bytes()[self._forgotten :].decode(errors="replace")
        found = []
        for line in ACCESS.finditer(log):
            target = urlsplit(line["target"])
            if target.path == "/v2/":
                continue
            found.append(
                Request(
                    method=line["method"],
                    path=target.path,
                    namespace=parse_qs(target.query).get("ns", [""])[0],
                    status=int(line["status"]),
                    size_bytes=int(line["size"]),
                    user_agent=line["agent"],
                )
            )
        return found

    def asked_for(self, tag: str, digests: Iterable[str]) -> set[str]:
        """Which of these manifests and blobs have been requested by GET. See `requests`."""
        asked = {request.path.rpartition("/")[2] for request in self.requests() if request.method == "GET"}
        return {tag, *digests} & asked

    def forget(self) -> None:
        """Leave what was asked so far out of `requests`."""
        self._forgotten = self.process.log.stat().st_size

    async def _answers(self) -> bool:
        self.process.check()
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
                answer = await client.get(f"{self.url}/v2/")
        except httpx.HTTPError:
            return False
        return answer.is_success

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
