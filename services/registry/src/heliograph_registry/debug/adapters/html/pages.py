"""Renders the debug page's HTML, from templates that escape every value."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from heliograph_registry.debug.adapters.html.request_rows import request_row
from heliograph_registry.debug.adapters.html.traffic_picture import shortened, traffic_picture
from heliograph_registry.debug.domain import formatting
from heliograph_registry.debug.domain.cluster import ClusterNode
from heliograph_registry.debug.domain.explanation import Explanation
from heliograph_registry.debug.domain.pull_result import PullResult
from heliograph_registry.debug.overview import Overview, TagSearch
from heliograph_registry.mirror.domain.request_log import RequestLog
from heliograph_shared.formatting import size

ASSETS: Mapping[str, str] = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_HERE = Path(__file__).parent
_MOST_NODES = 100
_MOST_TRAFFIC_ROWS = 20
_code = re.compile(r"(HELIOGRAPH_[A-Z_]+)|`([^`]{1,1000})`")
_joint = re.compile(r"([/:@])")


@dataclass(frozen=True, slots=True)
class ImageForm:
    """The values of a form for an image; `error` says what was wrong with the submitted one."""

    image: str = ""
    error: str = ""


class Pages:
    def __init__(self, node: str, token: str) -> None:
        """`token` is the CSRF token that every form carries."""
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "size": size,
            "age": formatting.age,
            "duration": formatting.duration,
            "short": formatting.short,
            "shortened": shortened,
            "marked": _marked,
            "breakable": _breakable,
        }
        self._environment.globals |= {"node": node, "token": token, "count": formatting.count}

    async def overview(
        self, overview: Overview, request_log: RequestLog, tags: TagSearch, last: PullResult | None
    ) -> str:
        nodes = sorted(overview.cluster.nodes, key=partial(_own_zone_first, overview.info.zone))
        return await self._page(
            "overview.html",
            tags=tags,
            last=last,
            nodes=nodes[:_MOST_NODES],
            **self._live(overview, request_log),
        )

    async def live(self, overview: Overview, request_log: RequestLog) -> dict[str, str]:
        """The fragments of the overview that change by themselves, by the id of their element."""
        values = self._live(overview, request_log)
        elements = {
            "verdict": "verdict",
            "vitals": "vitals",
            "requests": "request-rows",
            "picture": "traffic-picture",
            "traffic": "traffic-rows",
        }
        return {
            element: await self._page(f"parts/{template}.html", **values)
            for template, element in elements.items()
        }

    async def why(self, explanation: Explanation | None, form: ImageForm) -> str:
        return await self._page("why.html", explanation=explanation, form=form)

    async def pull_test(self, result: PullResult | None, form: ImageForm) -> str:
        return await self._page("pull_test.html", result=result, form=form)

    async def pulled(self, result: PullResult) -> dict[str, str]:
        """The fragments that change while a pull test runs, by the id of their element."""
        return {
            "pull-outcome": await self._page("parts/outcome.html", result=result),
            "pulled-parts": await self._page("parts/pulled_parts.html", result=result),
        }

    async def images(self, tags: TagSearch, containing: str) -> str:
        return await self._page("images.html", tags=tags, containing=containing)

    async def refused(self, reason: str) -> str:
        return await self._page("refused.html", reason=reason)

    def asset(self, name: str) -> bytes:
        """The content of one of `ASSETS`."""
        return (_HERE / "assets" / name).read_bytes()

    def _live(self, overview: Overview, request_log: RequestLog) -> dict[str, Any]:
        received, sent = request_log.received, request_log.sent
        return {
            "overview": overview,
            "rows": [request_row(entry, overview.now) for entry in overview.requests],
            "picture": traffic_picture(received, sent),
            "received": received.shares(_MOST_TRAFFIC_ROWS),
            "sent": sent.shares(_MOST_TRAFFIC_ROWS),
            "client_bytes": request_log.client_bytes,
        }

    async def _page(self, template: str, **values: Any) -> str:
        """Rendered in a thread, so that it delays no pull."""
        return await asyncio.to_thread(self._environment.get_template(template).render, values)


def _marked(text: str) -> Markup:
    """Settings, and text between backticks, as code."""
    return Markup(_code.sub(r"<code>\1\2</code>", str(escape(text))))  # noqa: S704 - escaped before


def _breakable(name: str) -> Markup:
    """A name that may be broken into lines after a slash, a colon or an at sign."""
    return Markup(_joint.sub(r"\1<wbr>", str(escape(name))))  # noqa: S704 - escaped before


def _own_zone_first(zone: str, node: ClusterNode) -> tuple[bool, str]:
    return node.zone != zone, node.node
