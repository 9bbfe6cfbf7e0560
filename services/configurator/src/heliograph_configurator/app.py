"""Puts the configurator together: the only module that knows every adapter."""

from heliograph_configurator.adapters.filesystem import open_certs_folder
from heliograph_configurator.domain.hosts_toml import Mirror
from heliograph_configurator.service import Configurator
from heliograph_configurator.settings import Settings


def apply(settings: Settings) -> bool:
    """Whether all was done. Raises `ConfiguratorError` when nothing could be."""
    mirror = Mirror(settings.mirror_targets, settings.resolve_tags)
    with open_certs_folder(settings.registry_config_path, create=True) as config:
        return Configurator(config).apply(mirror, settings.registries, prepend=settings.prepend_existing)


def cleanup(settings: Settings) -> bool:
    """Whether all was done. Raises `ConfiguratorError` when nothing could be."""
    with open_certs_folder(settings.registry_config_path, create=False) as config:
        return Configurator(config).cleanup()
