"""Measures a pull as containerd makes it, through this registry's own data port; the bytes are thrown away.

A HEAD for the tag, a GET for each manifest, then config and layers, three at a time; a body that ends early
is asked for again from there on. All of it in threads of its own, whose system calls and hashing leave the
event loop alone. One at a time, for at most 5 minutes and 8 GiB.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import structlog

from heliograph_registry.debug.domain.image import Kind, Part, chosen, content, kind_of, platforms
from heliograph_registry.debug.domain.pull_result import PulledPart, PullResult, State, left_to_upstream
from heliograph_registry.debug.errors import PullInterrupted, PullTestRefused
from heliograph_registry.debug.ports import DataPort, PullAnswer, PullConnection
from heliograph_registry.mirror.domain.manifest import MAX_MANIFEST_BYTES, Manifest, NotAManifest, verified
from heliograph_registry.mirror.domain.source import NOBODY
from heliograph_shared.digest import Digest, InvalidDigest, algorithm_of, parse_digest
from heliograph_shared.reference import Reference

log = structlog.get_logger()

_AT_ONCE = 3  # containerd's max_concurrent_downloads
_MOST_S = 300.0
_MOST_BYTES = 8 << 30
_MOST_INDEXES = 4
_RESUMES = 2
_PIECE_BYTES = 1 << 20
_MANIFEST_TYPES = ", ".join(
    f"application/vnd.{name}+json"
    for name in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)


class _Ended(Exception):
    def __init__(self, state: State, note: str) -> None:
        super().__init__(note)
        self.state, self.note = state, note


class PullTests:
    """`latest` is the one that runs, or ran last."""

    def __init__(
        self, port: DataPort, *, architecture: str, proven: Callable[[Iterable[Digest]], None]
    ) -> None:
        """`architecture` as OCI names it; `proven` is told which content had the right digest."""
        self._port, self._architecture, self._proven = port, architecture, proven
        self.latest: PullResult | None = None
        self._run: _Run | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self, reference: Reference) -> PullResult:
        """Raises `PullTestRefused` while another one is under way."""
        if self.latest is not None and not self.latest.over:
            raise PullTestRefused(str(self.latest.reference))
        self.latest = PullResult(reference, time.time())
        self._run = _Run(self._port, self.latest, self._architecture)
        self._running = asyncio.create_task(self._follow(self._run))
        return self.latest

    def stop(self, note: str) -> None:
        """End the one under way, if any; `note` says why."""
        if self._run is not None:
            self._run.stop(note)

    async def _follow(self, run: "_Run") -> None:
        note = "it took 5 minutes, which is the longest that is measured"
        timer = asyncio.get_running_loop().call_later(_MOST_S, run.stop, note)
        threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="measure")
        try:
            await asyncio.wrap_future(threads.submit(run.first))
            takers = [threads.submit(run.take_parts) for _ in range(_AT_ONCE)]
            await asyncio.gather(*map(asyncio.wrap_future, takers))
            run.completed = True
        except Exception as error:
            log.exception("cannot measure a pull", reason=str(error))
            run.stop("another part failed")
        finally:
            timer.cancel()
            run.end()
            threads.shutdown(wait=False)  # a wait would keep this loop from serving what they read
        self._proven(part.part.digest for part in run.measurement.parts if part.state is State.DONE)
        log.info(
            "measured a pull",
            reference=str(run.measurement.reference),
            outcome=run.measurement.state,
            size_bytes=run.measurement.received,
            ms=round(run.measurement.seconds * 1000),
        )


class _Run:
    """One measurement: `first` in one thread, then `take_parts` in several."""

    def __init__(self, port: DataPort, measurement: PullResult, architecture: str) -> None:
        self.measurement = measurement
        self._port, self._architecture = port, architecture
        self._began = time.monotonic()
        self._queue: deque[PulledPart] = deque()
        self._exchanges: set[PullConnection] = set()
        self._ending: tuple[State, str] | None = None
        self.completed = False

    def stop(self, note: str) -> None:
        """From any thread: what is being read ends at once."""
        if self._ending is None:
            self._ending = State.STOPPED, note
        for exchange in list(self._exchanges):
            exchange.abort()

    def first(self) -> None:
        """The tag, and the manifests down to that of the platform."""
        with closing(self._open()) as exchange:
            try:
                self._find_parts(exchange)
            except _Ended as end:
                self._ending = self._ending or (end.state, end.note)
            except PullInterrupted as error:
                self._ending = self._ending or (State.FAILED, str(error))
            finally:
                self._exchanges.discard(exchange)

    def take_parts(self) -> None:
        """Config and layers, until none is left."""
        exchange = self._open()
        try:
            while self._ending is None:
                try:
                    measured = self._queue.popleft()
                except IndexError:
                    break
                exchange = self._fetch(exchange, measured)
            if self._ending is None:
                self._settle(exchange)
        finally:
            self._exchanges.discard(exchange)
            exchange.close()

    def end(self) -> None:
        measurement = self.measurement
        measurement.seconds = time.monotonic() - self._began
        for part in measurement.parts:
            if part.state in {State.WAITING, State.RUNNING}:
                part.state = State.STOPPED
        state, note = self._ending or (State.DONE, "")
        if not self.completed:
            state, note = State.FAILED, "it could not be carried out, see the log"
        elif self._ending is None:
            for worst in (State.FAILED, State.UPSTREAM):
                bad = next((part for part in measurement.parts if part.state is worst), None)
                if bad is not None:
                    state, note = worst, bad.note
                    break
        measurement.note, measurement.state = note, state

    def _open(self) -> PullConnection:
        exchange = self._port.open()
        self._exchanges.add(exchange)
        return exchange

    def _settle(self, exchange: PullConnection) -> None:
        """One more answer: by then the registry has written down what it sent before on this connection."""
        with suppress(PullInterrupted):
            exchange.ask("GET", "/v2/", {}).read(memoryview(bytearray(64)))

    def _find_parts(self, exchange: PullConnection) -> None:
        reference = self.measurement.reference
        digest = reference.digest or self._tagged(exchange)
        self.measurement.resolved = digest
        part: Part | None = Part(Kind.MANIFEST, digest, 0)
        for _ in range(_MOST_INDEXES):
            if part is None:
                raise _Ended(State.FAILED, "an image index without a manifest")
            manifest = self._manifest(exchange, part)
            if kind_of(manifest) is Kind.MANIFEST:
                parts = [PulledPart(one) for one in content(manifest)]
                self.measurement.parts += parts
                self._queue.extend(parts)
                return
            part = chosen(platforms(manifest), self._architecture)
        raise _Ended(State.FAILED, "too many indexes within each other")

    def _tagged(self, exchange: PullConnection) -> Digest:
        reference = self.measurement.reference
        answer = self._ask(exchange, "HEAD", f"manifests/{reference.tag}")
        if answer.status != 200:
            raise _Ended(State.UPSTREAM, left_to_upstream(answer.status, answer.reason))
        try:
            return parse_digest(answer.digest)
        except InvalidDigest as error:
            raise _Ended(State.FAILED, "the answer for the tag has no digest") from error

    def _manifest(self, exchange: PullConnection, part: Part) -> Manifest:
        measured = PulledPart(part, State.RUNNING)
        self.measurement.parts.append(measured)
        began = time.monotonic()
        answer = self._ask(exchange, "GET", f"manifests/{part.digest}")
        measured.first_byte_s = time.monotonic() - began
        if answer.status != 200:
            measured.state, measured.note = State.UPSTREAM, left_to_upstream(answer.status, answer.reason)
            raise _Ended(State.UPSTREAM, measured.note)
        measured.source = answer.source
        body, buffer = bytearray(), memoryview(bytearray(64 << 10))
        while received := answer.read(buffer):
            body += buffer[:received]
            measured.received = len(body)
            if len(body) > MAX_MANIFEST_BYTES:
                raise _Ended(State.FAILED, "a manifest of more than 4 MiB")
        measured.seconds = time.monotonic() - began
        try:
            manifest = verified(part.digest, bytes(body))
        except NotAManifest as error:
            measured.state, measured.note = State.FAILED, str(error)
            raise _Ended(State.FAILED, str(error)) from error
        measured.state = State.DONE
        measured.part = Part(kind_of(manifest), part.digest, len(body), part.platform)
        return manifest

    def _fetch(self, exchange: PullConnection, measured: PulledPart) -> PullConnection:
        """One part; gives the exchange to go on with, since a body that ends early ends its connection."""
        measured.state = State.RUNNING
        hashed = hashlib.new(algorithm_of(measured.part.digest))
        began = time.monotonic()
        for attempt in range(1 + _RESUMES):
            try:
                complete = self._read(exchange, measured, hashed.update, began)
            except PullInterrupted as error:
                complete, measured.note = False, str(error)
            except _Ended as end:
                measured.state, measured.note = end.state, end.note
                return exchange
            measured.seconds = time.monotonic() - began
            if self._ending is not None:
                return exchange
            if complete:
                right = f"{algorithm_of(measured.part.digest)}:{hashed.hexdigest()}" == measured.part.digest
                measured.state = State.DONE if right else State.FAILED
                measured.note = "" if right else "the bytes have another digest"
                return exchange
            log.info("measured body ended early", digest=measured.part.digest, attempt=attempt)
            self._exchanges.discard(exchange)
            exchange.close()
            exchange = self._open()
        measured.state = State.FAILED
        measured.note = measured.note or f"ended at byte {measured.received}"
        return exchange

    def _read(
        self, exchange: PullConnection, measured: PulledPart, take: Callable[[memoryview], None], began: float
    ) -> bool:
        """Whether all of it has come now."""
        answer = self._ask(exchange, "GET", f"blobs/{measured.part.digest}", measured.received)
        if answer.status != (206 if measured.received else 200):
            raise _Ended(State.UPSTREAM, left_to_upstream(answer.status, answer.reason))
        if measured.source == NOBODY:
            measured.source = answer.source
        buffer = memoryview(bytearray(_PIECE_BYTES))
        while received := answer.read(buffer):
            measured.first_byte_s = measured.first_byte_s or time.monotonic() - began
            measured.received += received
            measured.seconds = time.monotonic() - began
            take(buffer[:received])
            self._bound()
        return answer.complete

    def _bound(self) -> None:
        if self._ending is not None:
            raise _Ended(*self._ending)
        if self.measurement.received > _MOST_BYTES:
            self.stop("8 GiB have come, which is the most that is measured")

    def _ask(self, exchange: PullConnection, method: str, path: str, offset: int = 0) -> PullAnswer:
        """Raises `PullInterrupted`."""
        reference = self.measurement.reference
        headers = {"accept": _MANIFEST_TYPES if path.startswith("manifests/") else "*/*"}
        if offset:
            headers["range"] = f"bytes={offset}-"
        return exchange.ask(method, f"/v2/{reference.repository}/{path}?ns={reference.registry}", headers)
