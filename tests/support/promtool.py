"""Prometheus' own judge of rules, where `install-machines.sh` has unpacked it."""

import subprocess
from pathlib import Path

from tests.support.machines import machines_path


def absent() -> str:
    """Why it cannot be asked here, in one line; empty if it can."""
    return "" if _program().exists() else "no promtool: run tests/support/install-machines.sh"


def promtool(*arguments: str | Path) -> str:
    """What it prints. Raises `AssertionError` with that when it is not content."""
    ran = subprocess.run([_program(), *arguments], check=False, capture_output=True, text=True, timeout=60)
    printed = ran.stdout + ran.stderr
    assert ran.returncode == 0, printed
    return printed


def _program() -> Path:
    return machines_path() / "promtool" / "promtool"
