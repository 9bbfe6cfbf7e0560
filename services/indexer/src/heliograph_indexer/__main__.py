"""`heliograph-indexer` announces what this node's content store holds; `doctor` says what prevents it."""

import sys
from functools import partial

from heliograph_indexer import app, doctor
from heliograph_indexer.settings import Settings
from heliograph_shared.runtime import run
from heliograph_shared.settings import load

PROG = "heliograph-indexer"


def main() -> None:
    """Exits with 2 when the settings are invalid, 1 when the indexer cannot start, else as `doctor` says."""
    if sys.argv[1:2] == ["doctor"]:
        sys.exit(doctor.main(sys.argv[2:]))
    settings = load(Settings, PROG)
    run(partial(app.serve, settings), prog=PROG, log_level=settings.log_level)


if __name__ == "__main__":
    main()
