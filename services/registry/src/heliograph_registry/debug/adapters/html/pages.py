"""The debug page's HTML, made from templates that escape all they are given."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from heliograph_registry.debug.adapters.html.request_rows import row
from heliograph_registry.debug.adapters.html.traffic_picture import drawn, shortened
from heliograph_registry.debug.domain import formatting
from heliograph_registry.debug.domain.cluster import ClusterNode
from heliograph_registry.debug.domain.explanation import Explanation
from heliograph_registry.debug.domain.pull_result import PullResult
from heliograph_registry.debug.overview import Overview, Tags
from heliograph_registry.mirror.domain.request_log import RequestLog

ASSETS: Mapping[str, str] = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_HERE = Path(__file__).parent
_MOST_PEERS = 100
_code = re.compile(r"(HELIOGRAPH_[A-Z_]+)|`([^`]{1,1000})`")
_joint = re.compile(r"([/:@])")


@dataclass(frozen=True, slots=True)
class Form:
    """What the forms of a page are filled with; `error` is what was wrong with what was sent."""

    image: str = ""
    error: str = ""


class Pages:
    def __init__(self, node: str, token: str) -> None:
        """`token` is what forms have to carry."""
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "size": formatting.size,
            "age": formatting.age,
            "took": formatting.took,
            "short": formatting.short,
            "listed": lambda names: formatting.listed(list(names)),
            "shortened": shortened,
            "marked": _marked,
            "breakable": _breakable,
        }
        self._environment.globals |= {"node": node, "token": token, "count": formatting.count}

    async def overview(
        self, seen: Overview, request_log: RequestLog, tags: Tags, last: PullResult | None
    ) -> str:
        around = seen.around
        neighbours = sorted(around.neighbours, key=partial(_near_first, seen.identity.zone))
        return await self._page(
            "overview.html",
            seen=seen,
            tags=tags,
            last=last,
            neighbours=neighbours[:_MOST_PEERS],
            **self._live(seen, request_log),
        )

    async def live(self, seen: Overview, request_log: RequestLog) -> dict[str, str]:
        """The parts of the overview that change by themselves, by the id of their element."""
        values = self._live(seen, request_log)
        names = {
            "verdict": "verdict",
            "vitals": "vitals",
            "requests": "request-rows",
            "picture": "exchange-picture",
            "exchanged": "exchange-rows",
        }
        return {
            element: await self._page(f"parts/{template}.html", seen=seen, **values)
            for template, element in names.items()
        }

    async def why(self, explanation: Explanation | None, form: Form) -> str:
        return await self._page("why.html", explanation=explanation, form=form)

    async def measure(self, measurement: PullResult | None, form: Form) -> str:
        return await self._page("measure.html", measurement=measurement, form=form)

    async def measured(self, measurement: PullResult) -> dict[str, str]:
        """The parts of the page that change while it is measured."""
        return {
            "measured-outcome": await self._page("parts/outcome.html", measurement=measurement),
            "measured-rows": await self._page("parts/measured.html", measurement=measurement),
        }

    async def images(self, tags: Tags, containing: str) -> str:
        return await self._page("images.html", tags=tags, containing=containing)

    async def refused(self, why: str) -> str:
        return await self._page("refused.html", why=why)

    def asset(self, name: str) -> bytes:
        """One of `ASSETS`."""
        return (_HERE / "assets" / name).read_bytes()

    def _live(self, seen: Overview, request_log: RequestLog) -> dict[str, Any]:
        return {
            "rows": [row(entry, seen.now) for entry in seen.requests],
            "drawing": drawn(request_log.received, request_log.sent),
            "taken": request_log.received.shares(20),
            "given": request_log.sent.shares(20),
            "client_bytes": request_log.client_bytes,
        }

    async def _page(self, template: str, **values: Any) -> str:
        """Rendered in a thread, so that it delays nobody's pull."""
        return await asyncio.to_thread(self._environment.get_template(template).render, values)


def _marked(text: str) -> Markup:
    """Settings, and what stands between backticks, as code."""
    return Markup(_code.sub(r"<code>\1\2</code>", str(escape(text))))  # noqa: S704 - escaped before


def _breakable(name: str) -> Markup:
    """A name that is broken into lines after a slash or a colon, if it must be."""
    return Markup(_joint.sub(r"\1<wbr>", str(escape(name))))  # noqa: S704 - escaped before


def _near_first(zone: str, neighbour: ClusterNode) -> tuple[bool, str]:
    return neighbour.zone != zone, neighbour.node
