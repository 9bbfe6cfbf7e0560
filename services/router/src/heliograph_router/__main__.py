"""`heliograph-router`: answers which nodes hold which content."""

from functools import partial

from heliograph_router import app
from heliograph_router.settings import Settings
from heliograph_shared.runtime import run
from heliograph_shared.settings import load


def main() -> None:
    settings = load(Settings, "heliograph-router")
    run(partial(app.serve, settings), prog="heliograph-router", log_level=settings.log_level)


if __name__ == "__main__":
    main()
