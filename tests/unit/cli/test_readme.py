"""What the README says of the settings is what the services are told."""

import re
from importlib import import_module
from pathlib import Path

import pytest

README = Path(__file__).parents[3] / "README.md"
ROW = re.compile(r"^\| `HELIOGRAPH_(\w+)` \| ([^|]+) \|", re.MULTILINE)
SERVICES = ("indexer", "router", "registry", "configurator")


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_of_a_service_is_in_the_table(service: str) -> None:
    documented = {
        name.lower() for name, of in ROW.findall(README.read_text()) if service in of or of.strip() == "all"
    }
    settings = import_module(f"heliograph_{service}.settings").Settings
    assert documented == set(settings.model_fields)
