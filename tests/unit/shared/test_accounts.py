"""Files of accounts: what they may hold, and that nothing of it gets into messages."""

from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_shared.accounts import Account, InvalidAccounts, parse_accounts, read_accounts

printable = st.characters(exclude_categories=["C", "Z"])
users = st.text(printable, min_size=1).filter(lambda text: ":" not in text)
passwords = st.text(printable, min_size=1)


@given(st.lists(st.builds(Account, users, passwords), min_size=1))
def test_what_was_written_is_read(accounts: list[Account]) -> None:
    lines = [f"{account.user}:{account.password}" for account in accounts]
    assert parse_accounts("\n\n".join(lines) + "\n") == tuple(accounts)


@given(users, passwords)
def test_the_header_is_the_account(user: str, password: str) -> None:
    scheme, _, encoded = Account(user, password).authorization.partition(" ")
    assert (scheme, b64decode(encoded).decode()) == ("Basic", f"{user}:{password}")


@pytest.mark.parametrize(
    "text", ["", "\n \n", "hunter2", ":hunter2", "hunter2:", "a:hunter2\tx", "a:b\nhunter2"]
)
def test_what_is_no_account_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(InvalidAccounts) as refused:
        parse_accounts(text)
    assert "hunter2" not in str(refused.value)


def test_a_password_is_in_no_representation() -> None:
    assert "hunter2" not in repr(Account("me", "hunter2"))


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "accounts"
    for body in (b"me:\xff\xfe", b"me:x\n" * 100_000):
        file.write_bytes(body)
        with pytest.raises(InvalidAccounts):
            read_accounts(file)
