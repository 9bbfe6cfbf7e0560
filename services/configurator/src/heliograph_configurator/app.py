"""Puts the configurator together: the only module that knows every adapter."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import structlog

from heliograph_configurator.adapters import metrics
from heliograph_configurator.adapters.filesystem import open_certs_folder
from heliograph_configurator.adapters.inotify import follow
from heliograph_configurator.adapters.secret_files import SecretFiles
from heliograph_configurator.doctor import examine
from heliograph_configurator.domain.checks import Check
from heliograph_configurator.domain.course import Intent
from heliograph_configurator.domain.mirror import Mirror
from heliograph_configurator.domain.registry import is_looked_up
from heliograph_configurator.service import Configurator, Outcome
from heliograph_configurator.settings import Settings
from heliograph_configurator.watch import Watch
from heliograph_shared.admin import admin_app
from heliograph_shared.findings_publisher import FindingsPublisher
from heliograph_shared.http import serve_http
from heliograph_shared.readyz import Readyz
from heliograph_shared.runtime import background, bind

log = structlog.get_logger()


def apply(settings: Settings) -> bool:
    """Whether all was done. Raises `ConfiguratorError` when nothing could be."""
    mirror = _mirror(settings, _secrets(settings))
    with open_certs_folder(settings.registry_config_path, create=True) as config:
        configurator = Configurator(config)
        return configurator.apply(mirror, settings.registries, prepend=settings.prepend_existing).complete


def cleanup(settings: Settings) -> bool:
    """Whether all was done. Raises `ConfiguratorError` when nothing could be."""
    with open_certs_folder(settings.registry_config_path, create=False) as config:
        return Configurator(config).cleanup().complete


async def watch(settings: Settings, stop: asyncio.Event) -> None:
    """Keep containerd pointed at the mirrors until `stop`, and leave it so. Raises `StartupError`."""
    secrets = _secrets(settings)
    watched = Watch(
        partial(_look, settings, secrets),
        Readyz(settings.registry_ready_url) if settings.registry_ready_url else None,
        withdraw_after_s=settings.withdraw_after_s,
        report=metrics.report,
    )
    folders = partial(_watched_folders, settings.registry_config_path, secrets)
    publisher = FindingsPublisher(Check)
    admin = admin_app(watched.unready_reason)
    admin.routes.append(publisher.route())
    examined = publisher.keep_examined(partial(asyncio.to_thread, examine, settings))
    async with (
        serve_http(admin, bind(settings.admin_listen)),
        background(watched.run(), follow(folders, watched.hint), examined),
    ):
        await stop.wait()
    log.info("stopped; certs.d stays as it is")


def _look(settings: Settings, secrets: SecretFiles, intent: Intent, before: Outcome) -> Outcome:
    """Raises `ConfiguratorError`."""
    root = settings.registry_config_path
    if intent is not Intent.MIRROR:
        with open_certs_folder(root, create=False) as config:
            return Configurator(config, before).withdraw()
    mirror = _mirror(settings, secrets)
    with open_certs_folder(root, create=True) as config:
        return Configurator(config, before).apply(
            mirror, settings.registries, prepend=settings.prepend_existing, mend=True
        )


def _watched_folders(root: Path, secrets: SecretFiles) -> Iterator[Path]:
    yield root
    yield from {path.parent for path in secrets.paths}
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if is_looked_up(path.name))


def _secrets(settings: Settings) -> SecretFiles:
    return SecretFiles(
        settings.basic_auth_file, settings.tls_ca_file, settings.tls_cert_file, settings.tls_key_file
    )


def _mirror(settings: Settings, secrets: SecretFiles) -> Mirror:
    """Raises `SecretUnusable`."""
    return Mirror(
        settings.mirror_targets,
        settings.resolve_tags,
        additional=settings.additional_mirror_targets,
        dial_timeout=settings.dial_timeout,
        authorization=secrets.authorization(),
        tls=secrets.tls(),
    )
