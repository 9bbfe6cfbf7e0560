"""`heliograph-indexer`: announces what this node's content store holds. `doctor`: what keeps it from that."""

import sys
from functools import partial

from heliograph_indexer import app, doctor
from heliograph_indexer.settings import Settings
from heliograph_shared.runtime import run
from heliograph_shared.settings import load


def main() -> None:
    if sys.argv[1:2] == ["doctor"]:
        sys.exit(doctor.main(sys.argv[2:]))
    settings = load(Settings, "heliograph-indexer")
    run(partial(app.serve, settings), prog="heliograph-indexer", log_level=settings.log_level)


if __name__ == "__main__":
    main()
