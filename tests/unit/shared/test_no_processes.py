"""The guard of tests that may not start processes."""

import asyncio
import os
import subprocess
import sys

import pytest

from tests.support.no_processes import ProcessStarted


def test_a_test_without_the_marker_cannot_start_a_process() -> None:
    with pytest.raises(ProcessStarted):
        subprocess.run([sys.executable, "--version"], check=True)
    with pytest.raises(ProcessStarted):
        os.system("true")
    with pytest.raises(ProcessStarted):
        os.fork()


async def test_nor_can_asyncio() -> None:
    with pytest.raises(ProcessStarted):
        await asyncio.create_subprocess_exec(sys.executable, "--version")


@pytest.mark.processes
def test_with_the_marker_it_can() -> None:
    assert subprocess.run([sys.executable, "--version"], capture_output=True, check=True).stdout
