"""Clock, addresses, content directory: what is wrong is a finding, and nothing else."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heliograph_indexer.adapters.content_directory import inspect_content_directory
from heliograph_indexer.domain.environment_checks import (
    ContentDirectoryStatus,
    examine_address,
    examine_clock,
    examine_content_directory,
    examine_latest_tag,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ahead_s", "severities"),
    [
        (None, []),
        (0.2, []),
        (-59, []),
        (61, ["warning"]),
        (-4000, ["warning"]),
        (301, ["error"]),
    ],
)
def test_a_clock_is_compared_with_the_bus(ahead_s: float | None, severities: list[str]) -> None:
    assert [finding.severity for finding in examine_clock(NOW, ahead_s)] == severities


def test_a_clock_that_was_never_set_is_one_finding() -> None:
    (finding,) = examine_clock(datetime(1970, 1, 2, tzinfo=UTC), -1e9)
    assert "not set" in finding.problem


def test_a_tag_from_the_future_is_a_finding() -> None:
    assert list(examine_latest_tag(NOW, None)) == []
    assert list(examine_latest_tag(NOW, ("a:1", NOW + timedelta(seconds=30)))) == []
    (finding,) = examine_latest_tag(NOW, ("a:1", NOW + timedelta(hours=1)))
    assert "a:1 was tagged at 2026-06-01 01:00:00" in finding.seen


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "169.254.7.7", "fe80::1%eth0", "224.0.0.1", "127.0.0.1", "::1"]
)
def test_an_address_that_others_cannot_use_is_an_error(host: str) -> None:
    assert [finding.severity for finding in examine_address(host, bus_is_local=False)] == ["error"]


@pytest.mark.parametrize("host", ["10.0.0.1", "192.0.2.1", "2001:db8::1", "node-1.example"])
def test_other_addresses_are_fine(host: str) -> None:
    assert list(examine_address(host, bus_is_local=False)) == []


def test_loopback_is_fine_where_everything_is_on_one_machine() -> None:
    assert list(examine_address("127.0.0.1", bus_is_local=True)) == []


def seen(status: ContentDirectoryStatus, *, may_be_absent: bool = False) -> list[str]:
    found = list(examine_content_directory(status, may_be_absent=may_be_absent))
    assert all((finding.check, finding.severity) == ("content-path", "error") for finding in found)
    return [finding.seen for finding in found]


async def test_a_content_directory_is_read_blob_by_blob(tmp_path: Path) -> None:
    blob = tmp_path / "blobs/sha256/aa"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x")
    assert seen(await inspect_content_directory(tmp_path, ["sha256:aa", "sha256:bb"])) == []
    assert seen(await inspect_content_directory(tmp_path, [])) == []
    (other,) = seen(await inspect_content_directory(tmp_path, ["sha256:bb"]))
    assert "none" in other
    (not_a_directory,) = seen(await inspect_content_directory(blob, []))
    assert not_a_directory == f"{blob}: Not a directory"
    absent = await inspect_content_directory(tmp_path / "absent", [])
    assert seen(absent) == [f"{tmp_path / 'absent'}: No such file or directory"]
    assert seen(absent, may_be_absent=True) == []


@pytest.mark.processes
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_content_directory_that_this_user_may_not_read_is_a_finding(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, sys; from pathlib import Path\n"
        "from heliograph_indexer.adapters.content_directory import inspect_content_directory\n"
        "asyncio.run(inspect_content_directory(Path('/'), []))  # imports what the other user could not\n"
        "os.setegid(65534), os.seteuid(65534)\n"
        "print(asyncio.run(inspect_content_directory(Path(sys.argv[1]), [])).reason)\n"
    )
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-c", code, closed], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "Permission denied"
