from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.configurator.trees import quick_folder


@pytest.fixture
def root() -> Iterator[Path]:
    """A certs.d that does not exist yet."""
    with quick_folder() as folder:
        yield folder / "certs.d"
