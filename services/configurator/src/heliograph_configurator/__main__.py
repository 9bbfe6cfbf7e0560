"""`heliograph-configurator`: makes containerd ask its node's mirror first, and undoes that."""

import sys
from functools import partial
from typing import NoReturn

import structlog

from heliograph_configurator import app, doctor
from heliograph_configurator.errors import ConfiguratorError
from heliograph_configurator.settings import Settings
from heliograph_shared.runtime import configure_logging, run
from heliograph_shared.settings import load

PROG = "heliograph-configurator"
COMMANDS = {"apply": app.apply, "cleanup": app.cleanup}
USAGE = f"""\
usage: {PROG} {{apply,cleanup,watch,doctor}} [options]

  apply    write hosts.toml files that make containerd ask the mirrors first
  cleanup  restore the files that were there before
  watch    keep the files of apply in place as long as the node's registry is ready
  doctor   find what keeps containerd from asking the mirrors (--json: as JSON)

`{PROG} apply --help` lists the options.
"""


def main() -> None:
    """Exits with 0 if everything was done, 1 if not, 2 if the command line is wrong."""
    command, arguments = next(iter(sys.argv[1:]), ""), sys.argv[2:]
    if command in {"-h", "--help"}:
        sys.stdout.write(USAGE)
        sys.exit(0)
    if command == "doctor":
        sys.exit(doctor.main(arguments))
    if command not in {*COMMANDS, "watch"}:
        _refuse(command)
    settings = load(Settings, f"{PROG} {command}", arguments)
    if command == "watch":
        run(partial(app.watch, settings), prog=f"{PROG} watch", log_level=settings.log_level)
        return
    configure_logging(settings.log_level)
    try:
        done = COMMANDS[command](settings)
    except ConfiguratorError as error:
        structlog.get_logger().error("nothing was changed", command=command, reason=str(error))
        done = False
    sys.exit(0 if done else 1)


def _refuse(command: str) -> NoReturn:
    problem = f"no such command: {command!r}" if command else "a command is needed"
    sys.stderr.write(f"{USAGE}\n{PROG}: {problem}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
