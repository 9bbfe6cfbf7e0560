"""What the README says of the settings is what the services are told."""

import re
from pathlib import Path

from docs.reference.configuration import settings

README = Path(__file__).parents[3] / "README.md"
ROW = re.compile(r"^\| `HELIOGRAPH_(\w+)` \| ([^|]+) \|", re.MULTILINE)


def test_the_settings_that_matter_most_are_what_the_services_have() -> None:
    rows = dict(ROW.findall(README.read_text()))
    assert len(rows) == 10
    for name, whose in rows.items():
        services = set(settings()[name.lower()])
        assert whose == "all" or set(whose.split(", ")) == services, name
