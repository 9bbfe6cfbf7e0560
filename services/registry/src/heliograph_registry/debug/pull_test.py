"""The pull test: pulls an image through this registry's own data port and discards the bytes.

It does what containerd does: a HEAD for the tag, a GET for each manifest, then config and layers, three at a
time; when a body ends early, it requests the rest. It runs in threads of its own, so that blocking reads and
hashing do not delay the event loop. One pull test runs at a time, for at most 5 minutes and 8 GiB.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import structlog

from heliograph_registry.debug.domain.pull_result import PulledPart, PullResult, PullState, upstream_note
from heliograph_registry.debug.errors import PullInterrupted, PullTestRefused
from heliograph_registry.debug.ports import DataPort, PullConnection, PullResponse
from heliograph_registry.mirror.domain.manifest import verified
from heliograph_registry.mirror.domain.source import NOBODY
from heliograph_shared import image
from heliograph_shared.digest import Digest, InvalidDigest, algorithm_of, parse_digest
from heliograph_shared.image import MANIFEST_TYPES, MAX_MANIFEST_BYTES, ImagePart, Kind, NotAManifest
from heliograph_shared.platforms import Matcher
from heliograph_shared.reference import Reference

log = structlog.get_logger()

_CONCURRENCY = 3  # containerd's max_concurrent_downloads
_MOST_S = 300.0
_MOST_BYTES = 8 << 30
_MOST_INDEXES = 4
_RESUMES = 2
_PIECE_BYTES = 1 << 20


class _Ended(Exception):
    def __init__(self, state: PullState, note: str) -> None:
        super().__init__(note)
        self.state, self.note = state, note


class PullTests:
    """`latest` is the result of the running pull test, or of the last one."""

    def __init__(
        self, port: DataPort, *, platform: Matcher, on_verified: Callable[[Iterable[Digest]], None]
    ) -> None:
        """`on_verified` gets the digests of content with the right bytes."""
        self._port, self._platform, self._on_verified = port, platform, on_verified
        self.latest: PullResult | None = None
        self._run: _Run | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self, reference: Reference) -> PullResult:
        """Raises `PullTestRefused` while another pull test is running."""
        if self.latest is not None and not self.latest.over:
            raise PullTestRefused(str(self.latest.reference))
        self.latest = PullResult(reference, time.time())
        self._run = _Run(self._port, self.latest, self._platform)
        self._running = asyncio.create_task(self._follow(self._run))
        return self.latest

    def stop(self, note: str) -> None:
        """End the running pull test, if any; `note` says why."""
        if self._run is not None:
            self._run.stop(note)

    async def _follow(self, run: "_Run") -> None:
        timer = asyncio.get_running_loop().call_later(_MOST_S, run.stop, "the time limit is 5 minutes")
        threads = ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="pull-test")
        try:
            await asyncio.wrap_future(threads.submit(run.find_parts))
            fetchers = [threads.submit(run.fetch_parts) for _ in range(_CONCURRENCY)]
            await asyncio.gather(*map(asyncio.wrap_future, fetchers))
            run.completed = True
        except Exception as error:
            log.exception("pull test failed", reason=str(error))
            run.stop("another part failed")
        finally:
            timer.cancel()
            run.end()
            threads.shutdown(wait=False)  # waiting would block the event loop that serves these threads
        result = run.result
        self._on_verified(pulled.part.digest for pulled in result.parts if pulled.state is PullState.DONE)
        log.info(
            "pull test ended",
            reference=str(result.reference),
            outcome=result.state,
            size_bytes=result.received_bytes,
            ms=round(result.seconds * 1000),
        )


class _Run:
    """One pull test: `find_parts` runs in one thread, then `fetch_parts` in several."""

    def __init__(self, port: DataPort, result: PullResult, platform: Matcher) -> None:
        self.result = result
        self._port, self._platform = port, platform
        self._started_at = time.monotonic()
        self._queue: deque[PulledPart] = deque()
        self._connections: set[PullConnection] = set()
        self._ending: tuple[PullState, str] | None = None
        self.completed = False

    def stop(self, note: str) -> None:
        """Make running reads end at once. May be called from any thread."""
        if self._ending is None:
            self._ending = PullState.STOPPED, note
        for connection in list(self._connections):
            connection.abort()

    def find_parts(self) -> None:
        """Resolve the tag, read the manifests down to the platform's, and queue config and layers."""
        with closing(self._open()) as connection:
            try:
                self._read_manifests(connection)
            except _Ended as end:
                self._ending = self._ending or (end.state, end.note)
            except PullInterrupted as error:
                self._ending = self._ending or (PullState.FAILED, str(error))
            finally:
                self._connections.discard(connection)

    def fetch_parts(self) -> None:
        """Fetch config and layers until the queue is empty."""
        connection = self._open()
        try:
            while self._ending is None:
                try:
                    pulled = self._queue.popleft()
                except IndexError:
                    break
                connection = self._fetch(connection, pulled)
            if self._ending is None:
                self._wait_until_logged(connection)
        finally:
            self._connections.discard(connection)
            connection.close()

    def end(self) -> None:
        """Write the outcome to the result."""
        self.result.seconds = time.monotonic() - self._started_at
        for pulled in self.result.parts:
            if pulled.state in {PullState.WAITING, PullState.RUNNING}:
                pulled.state = PullState.STOPPED
        state, note = self._ending or (PullState.DONE, "")
        if not self.completed:
            state, note = PullState.FAILED, "an unexpected error, see the log"
        elif self._ending is None:
            for worst in (PullState.FAILED, PullState.UPSTREAM):
                bad = next((pulled for pulled in self.result.parts if pulled.state is worst), None)
                if bad is not None:
                    state, note = worst, bad.note
                    break
        self.result.note, self.result.state = note, state

    def _open(self) -> PullConnection:
        connection = self._port.open()
        self._connections.add(connection)
        return connection

    def _wait_until_logged(self, connection: PullConnection) -> None:
        """Send one more request: its response comes after the connection's earlier requests were logged."""
        with suppress(PullInterrupted):
            connection.request("GET", "/v2/", {}).read(memoryview(bytearray(64)))

    def _read_manifests(self, connection: PullConnection) -> None:
        digest = self.result.reference.digest or self._digest_of_tag(connection)
        part: ImagePart | None = ImagePart(Kind.MANIFEST, digest, 0)
        for _ in range(_MOST_INDEXES):
            if part is None:
                raise _Ended(PullState.FAILED, "an image index without a manifest")
            document = self._manifest(connection, part)
            if image.kind_of(document) is Kind.MANIFEST:
                parts = [PulledPart(one) for one in image.content(document)]
                self.result.parts += parts
                self._queue.extend(parts)
                return
            part = image.chosen(image.platforms(document), self._platform)
        raise _Ended(PullState.FAILED, "too many nested indexes")

    def _digest_of_tag(self, connection: PullConnection) -> Digest:
        response = self._request(connection, "HEAD", f"manifests/{self.result.reference.tag}")
        if response.status != 200:
            raise _Ended(PullState.UPSTREAM, upstream_note(response.status, response.reason))
        try:
            return parse_digest(response.digest)
        except InvalidDigest as error:
            raise _Ended(PullState.FAILED, "the response for the tag has no digest") from error

    def _manifest(self, connection: PullConnection, part: ImagePart) -> image.Document:
        pulled = PulledPart(part, PullState.RUNNING)
        self.result.parts.append(pulled)
        started_at = time.monotonic()
        response = self._request(connection, "GET", f"manifests/{part.digest}")
        pulled.first_byte_s = time.monotonic() - started_at
        if response.status != 200:
            pulled.state, pulled.note = PullState.UPSTREAM, upstream_note(response.status, response.reason)
            raise _Ended(PullState.UPSTREAM, pulled.note)
        pulled.source = response.source
        body, buffer = bytearray(), memoryview(bytearray(64 << 10))
        while received := response.read(buffer):
            body += buffer[:received]
            pulled.received_bytes = len(body)
            if len(body) > MAX_MANIFEST_BYTES:
                raise _Ended(PullState.FAILED, "a manifest larger than 4 MiB")
        pulled.seconds = time.monotonic() - started_at
        try:
            document = image.parse_document(verified(part.digest, bytes(body)).body)
        except NotAManifest as error:
            pulled.state, pulled.note = PullState.FAILED, str(error)
            raise _Ended(PullState.FAILED, str(error)) from error
        pulled.state = PullState.DONE
        pulled.part = ImagePart(image.kind_of(document), part.digest, len(body), part.platform)
        return document

    def _fetch(self, connection: PullConnection, pulled: PulledPart) -> PullConnection:
        """Fetch one part; returns the connection to use next, a new one after a body that ended early."""
        pulled.state = PullState.RUNNING
        algorithm = algorithm_of(pulled.part.digest)
        hashed = hashlib.new(algorithm)
        started_at = time.monotonic()
        for attempt in range(1 + _RESUMES):
            try:
                complete = self._read(connection, pulled, hashed.update, started_at)
            except PullInterrupted as error:
                complete, pulled.note = False, str(error)
            except _Ended as end:
                pulled.state, pulled.note = end.state, end.note
                return connection
            pulled.seconds = time.monotonic() - started_at
            if self._ending is not None:
                return connection
            if complete:
                right = f"{algorithm}:{hashed.hexdigest()}" == pulled.part.digest
                pulled.state = PullState.DONE if right else PullState.FAILED
                pulled.note = "" if right else "the bytes have another digest"
                return connection
            log.info("pull test body ended early", digest=pulled.part.digest, attempt=attempt)
            self._connections.discard(connection)
            connection.close()
            connection = self._open()
        pulled.state = PullState.FAILED
        pulled.note = pulled.note or f"ended at byte {pulled.received_bytes}"
        return connection

    def _read(
        self,
        connection: PullConnection,
        pulled: PulledPart,
        take: Callable[[memoryview], None],
        started_at: float,
    ) -> bool:
        """Read from where the part ended before; true once it is complete."""
        response = self._request(connection, "GET", f"blobs/{pulled.part.digest}", pulled.received_bytes)
        if response.status != (206 if pulled.received_bytes else 200):
            raise _Ended(PullState.UPSTREAM, upstream_note(response.status, response.reason))
        if pulled.source == NOBODY:
            pulled.source = response.source
        buffer = memoryview(bytearray(_PIECE_BYTES))
        while received := response.read(buffer):
            pulled.first_byte_s = pulled.first_byte_s or time.monotonic() - started_at
            pulled.received_bytes += received
            pulled.seconds = time.monotonic() - started_at
            take(buffer[:received])
            self._check_limits()
        return response.complete

    def _check_limits(self) -> None:
        if self._ending is not None:
            raise _Ended(*self._ending)
        if self.result.received_bytes > _MOST_BYTES:
            self.stop("the size limit is 8 GiB")

    def _request(self, connection: PullConnection, method: str, path: str, offset: int = 0) -> PullResponse:
        """Raises `PullInterrupted`."""
        reference = self.result.reference
        headers = {"accept": ", ".join(MANIFEST_TYPES) if path.startswith("manifests/") else "*/*"}
        if offset:
            headers["range"] = f"bytes={offset}-"
        return connection.request(
            method, f"/v2/{reference.repository}/{path}?ns={reference.registry}", headers
        )
