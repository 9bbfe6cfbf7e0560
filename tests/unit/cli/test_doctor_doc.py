"""`docs/doctor.md` names exactly the checks that exist, each under the program that makes it."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from heliograph_cli.doctor import CommandCheck
from heliograph_configurator.domain.checks import ConfiguratorCheck
from heliograph_indexer.domain.checks import IndexerCheck

DOC = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
PROGRAMS = {
    "Checks of the indexer": IndexerCheck,
    "Checks of the configurator": ConfiguratorCheck,
    "Checks of the `heliograph` command": CommandCheck,
}


@pytest.mark.parametrize("heading", PROGRAMS)
def test_the_checks_of_a_program_are_the_sections_of_its_chapter(heading: str) -> None:
    (chapter,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", DOC, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^### `(\S+)`$", chapter, re.MULTILINE) == [str(check) for check in PROGRAMS[heading]]


def test_no_two_programs_use_one_name_and_no_section_is_left_over() -> None:
    checks: list[StrEnum] = [check for program in PROGRAMS.values() for check in program]
    assert sorted(re.findall(r"^### `(\S+)`$", DOC, re.MULTILINE)) == sorted(map(str, checks))
    assert len(set(checks)) == len(checks)
