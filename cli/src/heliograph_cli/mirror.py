"""Client of an OCI mirror: pulls as containerd does (distribution-spec v1.1), with the registry in `ns`.

It follows redirects and asks for bodies without content encoding. It ignores proxies of the environment,
because a mirror is on the local network.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx

from heliograph_cli.credentials import ClientTls
from heliograph_cli.errors import PullFailed, Unreachable
from heliograph_shared import telemetry
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest
from heliograph_shared.image import MANIFEST_TYPES, MAX_MANIFEST_BYTES, ImagePart
from heliograph_shared.reference import Reference

_RESUMES = 2
_TIMEOUT = httpx.Timeout(10, read=60)
_MAX_ERROR_BYTES = 64 << 10

Write = Callable[[bytes], None]


class MirrorClient:
    def __init__(self, client: httpx.AsyncClient, url: str, server_name: str = "") -> None:
        """`server_name` is the name in the mirror's certificate, if that is not its address."""
        self._client, self._url = client, url
        self._extensions = {"sni_hostname": server_name} if server_name else None

    async def digest_of(self, reference: Reference) -> Digest | None:
        """The tag's digest, by HEAD; None if the mirror does not tell it. Raises `PullFailed`."""
        try:
            async with self._ask(reference, f"manifests/{reference.tag}", method="HEAD") as answer:
                if answer.status_code == httpx.codes.METHOD_NOT_ALLOWED:
                    return None
                await self._accept(answer)
                return parse_digest(answer.headers.get("docker-content-digest", ""))
        except InvalidDigest:
            return None
        except httpx.TransportError as error:
            raise PullFailed(str(reference), _reason(error)) from error

    async def manifest(self, reference: Reference, name: str) -> tuple[bytes, str]:
        """The body for a tag or digest, not verified, and its source. Raises `PullFailed`."""
        body = bytearray()
        try:
            async with self._ask(reference, f"manifests/{name}") as answer:
                await self._accept(answer)
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) > MAX_MANIFEST_BYTES:
                        raise PullFailed(name, f"a manifest of more than {MAX_MANIFEST_BYTES} bytes")
                return bytes(body), self._source(answer)
        except httpx.TransportError as error:
            raise PullFailed(name, _reason(error)) from error

    async def blob(self, reference: Reference, blob: ImagePart, write: Write) -> str:
        """Pass exactly `blob.size_bytes` bytes to `write`, in order, not verified; returns their source.

        A body that ends early is resumed where it ended, at most twice. Raises `PullFailed`.
        """
        received, sources = 0, dict[str, None]()
        reason = ""
        for _ in range(1 + _RESUMES):
            try:
                async with self._ask(reference, f"blobs/{blob.digest}", offset=received) as answer:
                    await self._accept(answer)
                    to_skip = received - _first_byte(answer, blob.digest)
                    if to_skip < 0:
                        raise PullFailed(blob.digest, "the mirror skipped bytes when it resumed")
                    sources[self._source(answer)] = None
                    async for piece in answer.aiter_raw():
                        skipped = min(to_skip, len(piece))
                        to_skip -= skipped
                        received += len(piece) - skipped
                        if received > blob.size_bytes:
                            raise PullFailed(blob.digest, f"longer than its {blob.size_bytes} bytes")
                        write(piece[skipped:])
            except httpx.TransportError as error:
                reason = f": {_reason(error)}"
            if received == blob.size_bytes:
                return ", ".join(sources)
        raise PullFailed(blob.digest, f"ended at byte {received} of {blob.size_bytes}{reason}")

    @asynccontextmanager
    async def _ask(
        self, reference: Reference, path: str, *, method: str = "GET", offset: int = 0
    ) -> AsyncIterator[httpx.Response]:
        accepted = ", ".join(MANIFEST_TYPES) if path.startswith("manifests/") else "*/*"
        headers = {"accept": accepted, "accept-encoding": "identity"}
        if offset:
            headers["range"] = f"bytes={offset}-"
        asked = self._client.stream(
            method,
            f"v2/{reference.repository}/{path}",
            params={"ns": reference.registry},
            headers=headers,
            extensions=self._extensions,
        )
        try:
            async with asked as answer:
                yield answer
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable("registry", self._url, _reason(error)) from error
        except httpx.TooManyRedirects as error:
            raise PullFailed(path, "redirect loop") from error

    async def _accept(self, answer: httpx.Response) -> None:
        if answer.status_code in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
            return
        path = answer.request.url.path
        reason = answer.headers.get("heliograph-reason") or await _spoken_reason(answer)
        raise PullFailed(f"{self._url} answered {answer.status_code} to {path}", reason)

    def _source(self, answer: httpx.Response) -> str:
        return answer.headers.get("heliograph-source") or answer.url.netloc.decode()


@asynccontextmanager
async def open_mirror(
    url: str, *, authorization: str = "", tls: ClientTls | None = None
) -> AsyncIterator[MirrorClient]:
    """Own the connections; the current trace context is sent with every request.

    `authorization` is the value of that header; it is not sent to another host after a redirect. Raises
    `Unreachable`, and `StartupError` when files of `tls` cannot be used.
    """
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Unreachable("registry", url, str(error)) from error
    if base.scheme not in {"http", "https"} or not base.host:
        raise Unreachable("registry", url, "not a URL such as http://127.0.0.1:5000")
    tls = tls or ClientTls()
    async with httpx.AsyncClient(
        base_url=base,
        verify=tls.context() if base.scheme == "https" else False,
        headers={**telemetry.inject(), **({"authorization": authorization} if authorization else {})},
        timeout=_TIMEOUT,
        follow_redirects=True,
        trust_env=False,
    ) as client:
        yield MirrorClient(client, url, tls.server_name)


def _first_byte(answer: httpx.Response, digest: Digest) -> int:
    """Offset of the body's first byte in the blob: a mirror may ignore the requested range."""
    if answer.status_code == httpx.codes.OK:
        return 0
    unit, _, span = answer.headers.get("content-range", "").partition(" ")
    first = span.partition("-")[0]
    if unit != "bytes" or not (first.isascii() and first.isdigit()):
        raise PullFailed(digest, "the mirror sent a partial body without a valid Content-Range")
    return int(first)


async def _spoken_reason(answer: httpx.Response) -> str:
    """The first error in the JSON body that the spec defines, else the phrase of the status."""
    body = bytearray()
    with suppress(httpx.TransportError):
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > _MAX_ERROR_BYTES:
                break
    with suppress(ValueError, LookupError, TypeError, RecursionError):
        error = json.loads(body)["errors"][0]
        return f"{error['code']}: {error['message']}"
    return answer.reason_phrase.lower() or "no reason given"


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
