"""`heliograph-configurator doctor`: one examination, for a person or as JSON.

It is wired here, not in `app`: it needs nothing of what `apply` and `cleanup` need but the folder to read.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from heliograph_configurator.adapters.certificate_files import unusable_reason
from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.adapters.filesystem import CertsFolder
from heliograph_configurator.adapters.mirror_http import ask_mirror
from heliograph_configurator.domain.certificate import unusable
from heliograph_configurator.domain.diagnosis import Diagnosis, examine_mirror, unreadable
from heliograph_configurator.errors import ConfiguratorError
from heliograph_configurator.settings import Settings
from heliograph_shared import findings
from heliograph_shared.findings import Finding, Report
from heliograph_shared.runtime import configure_logging
from heliograph_shared.settings import load

PROG = "heliograph-configurator doctor"
_MIRRORS_MOST = 16


class DoctorSettings(Settings, findings.DoctorSettings):
    """Says what keeps containerd from its node's mirror."""


def main(arguments: Sequence[str]) -> int:
    """0 when nothing is wrong, 1 when something is; exits with 2 when it was not understood."""
    settings = load(DoctorSettings, PROG, findings.spelled(arguments))
    configure_logging("error")
    report = examine(settings)
    sys.stdout.write(
        findings.encode(report).decode() if settings.output == "json" else findings.as_text(report)
    )
    return 0 if report.healthy else 1


def examine(settings: Settings) -> Report:
    """What is wrong with certs.d and the mirrors that it names; in some 10 s at most, from any thread.

    It changes nothing and takes no lock: while a configurator is at work it may see a step half taken.
    """
    root = settings.registry_config_path
    found: list[Finding] = []
    asked: Sequence[str] = settings.mirror_targets
    try:
        tree = CertsFolder(root, Disk()).read()
    except ConfiguratorError as error:
        found.append(unreadable(str(root), str(error)))
    else:
        diagnosis = Diagnosis(str(root), tree, settings.registries, settings.mirror_targets)
        found += diagnosis.findings()
        found += _unusable_certificates(root, diagnosis)
        asked = diagnosis.asked()
    urls = asked[:_MIRRORS_MOST]
    with ThreadPoolExecutor(len(urls)) as pool:
        for url, answer in zip(urls, pool.map(ask_mirror, urls), strict=True):
            found += examine_mirror(url, answer)
    return Report.of(time.time_ns() // 1_000_000, found, ())


def _unusable_certificates(root: Path, diagnosis: Diagnosis) -> Iterator[Finding]:
    """Of those within `root`: what else of the node is not seen from a container."""
    for folder, certificate in diagnosis.certificates():
        paths = [root / folder / file for file in certificate.files]
        if not all(path.is_relative_to(root) for path in paths):
            continue
        if reason := unusable_reason(certificate.use, paths):
            yield unusable(str(root / folder / "hosts.toml"), certificate, reason)
