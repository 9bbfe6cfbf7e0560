"""`heliograph-registry`: serves this node's content, and its peers' content as a mirror."""

from functools import partial

import uvloop

from heliograph_registry import app
from heliograph_registry.settings import Settings
from heliograph_shared.runtime import run
from heliograph_shared.settings import load


def main() -> None:
    settings = load(Settings, "heliograph-registry")
    run(
        partial(app.serve, settings),
        prog="heliograph-registry",
        log_level=settings.log_level,
        loop_factory=uvloop.new_event_loop,
    )


if __name__ == "__main__":
    main()
