"""The debug page's security headers, and its protection against forged forms (CSRF)."""

import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from fastapi import Request

_MOST_BYTES = 8 << 10

SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class FormRefused(Exception):
    """The form did not come from a page of this process."""


class CsrfGuard:
    """Accepts forms that come from the same origin and carry the token of this process's pages."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)

    async def form(self, request: Request) -> dict[str, str]:
        """The first value of each field. Raises `FormRefused`."""
        if not _same_origin(request.headers):
            raise FormRefused("another site sent the form")
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_BYTES:
                raise FormRefused("the form is too large")
        try:
            fields = parse_qs(body.decode(), max_num_fields=8)
        except ValueError as error:
            raise FormRefused("the form cannot be read") from error
        if not hmac.compare_digest(fields.get("token", [""])[0].encode(), self.token.encode()):
            raise FormRefused("its token is not valid; reload the page, the registry may have restarted")
        return {name: values[0] for name, values in fields.items()}


def _same_origin(headers: Mapping[str, str]) -> bool:
    """By what browsers send (Fetch Metadata; RFC 6454); true without it, since the token is still checked."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:  # not a URL
        return False
