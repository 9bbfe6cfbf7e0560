"""Puts the configurator together: the only module that knows every adapter."""

from heliograph_configurator.adapters.filesystem import open_certs_folder
from heliograph_configurator.adapters.secret_files import SecretFiles
from heliograph_configurator.domain.mirror import Mirror
from heliograph_configurator.service import Configurator
from heliograph_configurator.settings import Settings


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
