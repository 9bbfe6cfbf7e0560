"""Composition root of the configurator: the only module that knows every adapter."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import structlog

from heliograph_configurator.adapters.certificate_files import unusable_reason
from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.adapters.filesystem import CertsFolder, open_certs_folder
from heliograph_configurator.adapters.inotify import follow
from heliograph_configurator.adapters.metrics import ConfiguratorMetrics
from heliograph_configurator.adapters.mirror_http import ask_mirror
from heliograph_configurator.adapters.secret_files import SecretFiles
from heliograph_configurator.domain.checks import ConfiguratorCheck
from heliograph_configurator.domain.mirror import MirrorHosts
from heliograph_configurator.domain.reconcile_schedule import Intent
from heliograph_configurator.domain.registry import is_looked_up
from heliograph_configurator.domain.result import ReconcileResult
from heliograph_configurator.examination import CertsExamination
from heliograph_configurator.service import Configurator
from heliograph_configurator.settings import Settings
from heliograph_configurator.watch import Watch
from heliograph_shared.admin import admin_app
from heliograph_shared.findings_publisher import FindingsPublisher
from heliograph_shared.http import serve_http
from heliograph_shared.readyz import Readyz
from heliograph_shared.runtime import background, bind

log = structlog.get_logger()


def apply(settings: Settings) -> bool:
    """True if everything was done. Raises `ConfiguratorError` if nothing could be changed."""
    mirror = _mirror(settings, _secrets(settings))
    with _certs_folder(settings, create=True) as config:
        configurator = Configurator(config)
        return configurator.apply(mirror, settings.registries, prepend=settings.prepend_existing).complete


def cleanup(settings: Settings) -> bool:
    """True if everything was done. Raises `ConfiguratorError` if nothing could be changed."""
    with _certs_folder(settings, create=False) as config:
        return Configurator(config).cleanup().complete


async def watch(settings: Settings, stop: asyncio.Event) -> None:
    """Keep the mirrors in certs.d until `stop`, and leave them there. Raises `StartupError`."""
    secrets = _secrets(settings)
    metrics = ConfiguratorMetrics()
    watched = Watch(
        partial(_reconcile, settings, secrets),
        Readyz(settings.registry_ready_url) if settings.registry_ready_url else None,
        withdraw_after_s=settings.withdraw_after_s,
        on_result=metrics.count,
    )
    folders = partial(_watched_folders, (settings.certs_root, *settings.later_roots), secrets)
    publisher = FindingsPublisher(ConfiguratorCheck)
    admin = admin_app(watched.unready_reason, metrics.collected)
    admin.routes.append(publisher.route())
    async with (
        serve_http(admin, bind(settings.admin_listen)),
        background(
            watched.run(),
            follow(folders, watched.hint),
            publisher.keep_examined(examination(settings).report),
        ),
    ):
        await stop.wait()
    log.info("stopped; certs.d stays as it is")


def examination(settings: Settings) -> CertsExamination:
    """Of the certs.d and the mirrors that the settings name."""
    root, later = settings.certs_root, settings.later_roots
    return CertsExamination(
        (root, *later),
        settings.registries,
        settings.mirror_targets,
        read=CertsFolder(root, Disk(), later=later).read,
        ask_mirror=ask_mirror,
        test_certificate=unusable_reason,
    )


def _reconcile(
    settings: Settings, secrets: SecretFiles, intent: Intent, previous: ReconcileResult
) -> ReconcileResult:
    """Raises `ConfiguratorError`."""
    if intent is not Intent.MIRROR:
        with _certs_folder(settings, create=False) as config:
            return Configurator(config, previous).withdraw()
    mirror = _mirror(settings, secrets)
    with _certs_folder(settings, create=True) as config:
        return Configurator(config, previous).apply(
            mirror, settings.registries, prepend=settings.prepend_existing, repair=True
        )


def _certs_folder(settings: Settings, *, create: bool) -> AbstractContextManager[CertsFolder]:
    """Without `create`, to restore the originals, for which later roots do not matter."""
    later = settings.later_roots if create else ()
    return open_certs_folder(settings.certs_root, create=create, later=later)


def _watched_folders(roots: Sequence[Path], secrets: SecretFiles) -> Iterator[Path]:
    yield from roots
    yield from {path.parent for path in secrets.paths}
    for root in roots:
        if root.is_dir():
            yield from sorted(path for path in root.iterdir() if is_looked_up(path.name))


def _secrets(settings: Settings) -> SecretFiles:
    return SecretFiles(
        settings.basic_auth_file, settings.tls_ca_file, settings.tls_cert_file, settings.tls_key_file
    )


def _mirror(settings: Settings, secrets: SecretFiles) -> MirrorHosts:
    """Raises `SecretUnusable`."""
    return MirrorHosts(
        settings.mirror_targets,
        settings.resolve_tags,
        additional=settings.additional_mirror_targets,
        dial_timeout=settings.dial_timeout,
        authorization=secrets.authorization(),
        tls=secrets.tls(),
    )
