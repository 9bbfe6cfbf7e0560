"""`heliograph-configurator doctor`: examines certs.d once and prints the report as text or JSON."""

from collections.abc import Sequence

from heliograph_configurator import app
from heliograph_configurator.settings import Settings
from heliograph_shared import doctor_command, findings
from heliograph_shared.settings import load

PROG = "heliograph-configurator doctor"


class ConfiguratorDoctorSettings(Settings, findings.DoctorSettings):
    """Finds what keeps containerd from asking its node's mirror."""


def main(arguments: Sequence[str]) -> int:
    """The exit code of `doctor_command.run`; exits with 2 if the arguments are wrong."""
    settings = load(ConfiguratorDoctorSettings, PROG, findings.spelled(arguments))
    return doctor_command.run(PROG, settings.output, app.examination(settings).report)
