"""Only forms of this page are accepted."""

import pytest
from fastapi import Request

from heliograph_registry.debug.adapters.html.csrf import SECURITY_HEADERS, CsrfGuard, FormRefused


def sent(body: bytes, **headers: str) -> Request:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": named}, receive)


async def test_a_form_of_the_page_is_read() -> None:
    csrf = CsrfGuard()
    body = f"token={csrf.token}&image=reg.test%2Fapp%3A1".encode()
    form = await csrf.form(
        sent(body, host="node:9090", origin="http://node:9090", sec_fetch_site="same-origin")
    )
    assert form["image"] == "reg.test/app:1"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"host": "node:9090", "sec_fetch_site": "cross-site"}, "another site"),
        ({"host": "node:9090", "sec_fetch_site": "same-site"}, "another site"),
        ({"host": "node:9090", "origin": "http://evil.test"}, "another site"),
        ({"host": "node:9090", "origin": "null"}, "another site"),
        ({"host": "node:9090", "origin": "http://["}, "another site"),
    ],
)
async def test_a_form_of_another_site_is_refused(headers: dict[str, str], reason: str) -> None:
    csrf = CsrfGuard()
    with pytest.raises(FormRefused, match=reason):
        await csrf.form(sent(f"token={csrf.token}".encode(), **headers))


@pytest.mark.parametrize("body", [b"", b"token=", b"token=wrong", b"token=%FF", b"\xff\xff", b"a=1&" * 99])
async def test_a_form_without_the_token_of_this_process_is_refused(body: bytes) -> None:
    with pytest.raises(FormRefused):
        await CsrfGuard().form(sent(body))


async def test_a_large_form_is_refused() -> None:
    csrf = CsrfGuard()
    with pytest.raises(FormRefused, match="too large"):
        await csrf.form(sent(f"token={csrf.token}&image=".encode() + b"x" * 10_000))


def test_the_policy_forbids_content_from_other_hosts() -> None:
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in SECURITY_HEADERS["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("style", "script", "connect")} == {"'self'"}
