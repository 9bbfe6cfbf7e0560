"""`heliograph-configurator`: points containerd at its node's mirror, and takes that back."""

import sys
from typing import NoReturn

import structlog

from heliograph_configurator import app
from heliograph_configurator.errors import ConfiguratorError
from heliograph_configurator.settings import Settings
from heliograph_shared.runtime import configure_logging
from heliograph_shared.settings import load

PROG = "heliograph-configurator"
COMMANDS = {"apply": app.apply, "cleanup": app.cleanup}
USAGE = f"""\
usage: {PROG} {{apply,cleanup}} [options]

  apply    write hosts.toml files that send containerd to the mirror first
  cleanup  restore what was there before

`{PROG} apply --help` lists the options.
"""


def main() -> None:
    """Exits with 0 when all was done, 1 when not, 2 when it was not understood."""
    command, arguments = next(iter(sys.argv[1:]), ""), sys.argv[2:]
    if command in {"-h", "--help"}:
        sys.stdout.write(USAGE)
        sys.exit(0)
    if command not in COMMANDS:
        _refuse(command)
    settings = load(Settings, f"{PROG} {command}", arguments)
    configure_logging(settings.log_level)
    try:
        done = COMMANDS[command](settings)
    except ConfiguratorError as error:
        structlog.get_logger().error("nothing was changed", command=command, reason=str(error))
        done = False
    sys.exit(0 if done else 1)


def _refuse(command: str) -> NoReturn:
    wrong = f"no such command: {command!r}" if command else "a command is needed"
    sys.stderr.write(f"{USAGE}\n{PROG}: {wrong}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
