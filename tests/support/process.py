"""A child process that leaves a log and never outlives the tests.

The kernel kills it when the thread that started it ends (PR_SET_PDEATHSIG), so start children from
the main thread. The signal is set by `setpriv`, which then execs the program under the same pid: a
`preexec_fn` would fork a process that has gRPC's threads, which Python 3.12 warns about.
"""

import os
import shutil
import signal
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import eventually

TAIL_BYTES = 4000
POD_USER = 65532
"""The user that the services run as in a cluster, without capabilities."""

_CAPABILITY = "-all,+dac_read_search"


class ProcessDied(RuntimeError):
    """A child ended by itself; carries its exit code and the tail of its log."""

    def __init__(self, name: str, returncode: int, tail: str) -> None:
        super().__init__(f"{name} ended with exit code {returncode}; its log ends:\n{tail}")
        self.name = name
        self.returncode = returncode
        self.tail = tail


class Process:
    """One program, which can be started again after it ended; all runs append to one log.

    `environment` is added to the own one. With `user` the child runs as that user, and has no capability but
    to read every file: the Python that runs the tests may belong to root alone. A child runs in its own
    session, so that Ctrl-C reaches only the tests, which then stop it in order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        user: int | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self.environment = dict(environment or {})
        self.directory = directory
        self._user = user
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return None if self._child is None else self._child.poll()

    def start(self) -> None:
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [*self._guard(), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                cwd=self.directory,
                start_new_session=True,
            )
        weakref.finalize(self, child.kill)
        self._child = child

    def _guard(self) -> list[str]:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            return []
        guard = [setpriv, "--pdeathsig", "KILL"]
        if self._user is not None:
            guard += [f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups", "--no-new-privs"]
            guard += [f"--{of}={_CAPABILITY}" for of in ("bounding-set", "inh-caps", "ambient-caps")]
        return [*guard, "--"]

    def check(self) -> None:
        """Raise `ProcessDied` unless it runs."""
        if (returncode := self.returncode) is not None:
            raise ProcessDied(self.name, returncode, self.tail())

    def send(self, number: signal.Signals) -> None:
        """Send a signal, for instance SIGSTOP and SIGCONT to play a stalled process."""
        if self._child is not None:
            self._child.send_signal(number)

    async def stop(self, grace: float = 10.0) -> None:
        """SIGTERM, and SIGKILL if it still runs after `grace` seconds; a stopped one is continued."""
        if not self.running:
            return
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        try:
            await self.ended(grace)
        except AssertionError:
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL, as an abrupt end of the program."""
        if self.running:
            self.send(signal.SIGKILL)
            await self.ended()

    async def ended(self, within: float = 10.0) -> int:
        """Wait for the end by itself and return the exit code."""
        await eventually(lambda: not self.running, within, lambda: f"{self.name} still runs")
        if self.returncode is None:
            raise RuntimeError(f"{self.name} was not started")
        return self.returncode

    def tail(self, size_bytes: int = TAIL_BYTES) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - size_bytes))
            return log.read().decode(errors="replace")

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
