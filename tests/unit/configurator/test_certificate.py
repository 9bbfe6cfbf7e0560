"""Certificates that a `hosts.toml` names are found in every notation, and nothing else is taken for one."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_configurator.adapters.certificate_files import unusable_reason
from heliograph_configurator.domain.certificate import Certificate, named_in
from tests.support.authority import Authority

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"ca": "a"}, [Certificate("ca", ("a",))]),
        ({"ca": ["a", "b"]}, [Certificate("ca", ("a",)), Certificate("ca", ("b",))]),
        ({"client": "a"}, [Certificate("client", ("a",))]),
        ({"client": ["a", "b"]}, [Certificate("client", ("a",)), Certificate("client", ("b",))]),
        (
            {"client": [["a", "b"], ["c", ""]]},
            [Certificate("client", ("a", "b")), Certificate("client", ("c",))],
        ),
        ({"ca": 3, "client": [[], [7], {"a": "b"}]}, []),
    ],
)
def test_every_notation_is_known(table: dict[str, Any], named: list[Certificate]) -> None:
    assert list(named_in(table)) == named
    assert list(named_in({"host": {"https://a.test": table}})) == named


@given(st.fixed_dictionaries({}, optional={"ca": values, "client": values}))
def test_any_document_can_be_read(document: dict[str, Any]) -> None:
    assert all(certificate.files for certificate in named_in(document))


@pytest.mark.processes
def test_a_certificate_is_usable_if_the_tls_library_accepts_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, other = authority.sign("pair"), authority.sign("other")
    both, text = tmp_path / "both", tmp_path / "text"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    text.write_text("text")

    assert unusable_reason("ca", [authority.certificate]) == ""
    assert unusable_reason("client", [pair.certificate, pair.key]) == ""
    assert unusable_reason("client", [both]) == ""
    assert unusable_reason("ca", [text])
    assert unusable_reason("client", [pair.certificate])
    assert unusable_reason("client", [pair.certificate, other.key])
    assert unusable_reason("ca", [tmp_path / "gone"]) == f"there is no {tmp_path / 'gone'}"
    assert unusable_reason("ca", [tmp_path]) == f"{tmp_path} is not a file"
