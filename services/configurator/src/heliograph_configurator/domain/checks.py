"""The checks of the configurator's doctor; `docs/doctor.md` has a section for each. Pure."""

from enum import StrEnum


class ConfiguratorCheck(StrEnum):
    CERTS = "certs-unreadable"
    HOSTS = "hosts-broken"
    CERTIFICATE = "certificate-unusable"
    MIRRORED = "not-mirrored"
    SHADOWED = "default-shadowed"
    HIDDEN = "later-root-hidden"
    SERVER = "default-server"
    REACHED = "mirror-unreachable"
    HELIOGRAPH = "mirror-foreign"
