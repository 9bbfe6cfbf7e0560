"""What every answer of the debug page carries, and who may make it do something."""

import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from fastapi import Request

_MOST_BYTES = 8 << 10

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Refused(Exception):
    """A form that did not come from this page."""


class CsrfGuard:
    """Forms carry a token that only this process's pages show, and come from a page of the same origin."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)

    async def form(self, request: Request) -> dict[str, str]:
        """The first value of each field. Raises `Refused`."""
        if not _same_origin(request.headers):
            raise Refused("the form was sent by another site")
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_BYTES:
                raise Refused("the form is too large")
        try:
            fields = parse_qs(body.decode(), max_num_fields=8)
        except ValueError as error:
            raise Refused("the form cannot be read") from error
        if not hmac.compare_digest(fields.get("token", [""])[0].encode(), self.token.encode()):
            raise Refused("the form is from before this registry was restarted: load the page again")
        return {name: values[0] for name, values in fields.items()}


def _same_origin(headers: Mapping[str, str]) -> bool:
    """What browsers say of it (Fetch Metadata; RFC 6454); who says nothing still needs the token."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:  # not a URL
        return False
