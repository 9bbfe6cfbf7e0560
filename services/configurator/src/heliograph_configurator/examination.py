"""Examines certs.d and the mirrors that it names, for the doctor and for a watch."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from heliograph_configurator.domain.certificate import unusable
from heliograph_configurator.domain.diagnosis import Diagnosis, examine_mirror, unreadable
from heliograph_configurator.domain.folder import Tree
from heliograph_configurator.domain.registry import UpstreamRegistry
from heliograph_configurator.errors import ConfiguratorError
from heliograph_configurator.ports import CertificateTest, MirrorProbe
from heliograph_shared.findings import Finding, Report

_MAX_MIRRORS = 16


class CertsExamination:
    """Of certs.d, given the `registries` to mirror (None: all) and the mirrors' URLs, `targets`.

    certs.d is the first of `roots`, which are containerd's `config_path`. `read` reads it and raises
    `ConfiguratorError`.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        registries: Sequence[UpstreamRegistry] | None,
        targets: Sequence[str],
        *,
        read: Callable[[], Tree],
        ask_mirror: MirrorProbe,
        test_certificate: CertificateTest,
    ) -> None:
        self._roots, self._registries, self._targets = roots, registries, targets
        self._root = roots[0]
        self._read, self._ask_mirror, self._test_certificate = read, ask_mirror, test_certificate

    async def report(self) -> Report:
        """What is wrong with certs.d and with the mirrors that it names; takes about 10 s at most.

        Nothing is changed or locked: while a configurator is working, a step may be seen half done.
        """
        return await asyncio.to_thread(self._examine)

    def _examine(self) -> Report:
        found: list[Finding] = []
        mirrors: Sequence[str] = self._targets
        try:
            tree = self._read()
        except ConfiguratorError as error:
            found.append(unreadable(str(self._root), str(error)))
        else:
            diagnosis = Diagnosis(str(self._root), tree, self._registries, self._targets)
            found += diagnosis.findings()
            found += self._unusable_certificates(diagnosis)
            mirrors = diagnosis.mirrors()
        urls = mirrors[:_MAX_MIRRORS]
        with ThreadPoolExecutor(len(urls)) as pool:
            for url, answer in zip(urls, pool.map(self._ask_mirror, urls), strict=True):
                found += examine_mirror(url, answer)
        return Report.of(time.time_ns() // 1_000_000, found, ())

    def _unusable_certificates(self, diagnosis: Diagnosis) -> Iterator[Finding]:
        """Only of files below the roots: a container sees no other files of the node."""
        for folder, certificate in diagnosis.certificates():
            paths = [self._root / folder / file for file in certificate.files]
            if not all(any(map(path.is_relative_to, self._roots)) for path in paths):
                continue
            if reason := self._test_certificate(certificate.use, paths):
                yield unusable(str(self._root / folder / "hosts.toml"), certificate, reason)
