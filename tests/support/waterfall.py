"""A trace drawn as a waterfall: one row for each span, under its parent, along one axis of time."""

from collections.abc import Iterator, Sequence
from html import escape

from tests.support.otlp import ReceivedSpan

WIDTH, NAMES, ROW, TOP = 1080, 430, 19, 52
FEWEST_PIXELS = 2.0
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .dim { fill: #59636e }
.page { fill: #ffffff } .line { stroke: #d1d9e0 } .odd { fill: #f6f8fa }
.containerd { fill: #8250df } .mirror { fill: #0969da } .router { fill: #bf8700 } .peer { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .dim { fill: #9198a1 } .page { fill: #0d1117 } .line { stroke: #3d444d }
.odd { fill: #151b23 } .containerd { fill: #ab7df8 } .mirror { fill: #4493f8 } .router { fill: #d29922 }
.peer { fill: #3fb950 } }
"""
LEGEND = (
    ("containerd", "containerd"),
    ("mirror", "registry of this node"),
    ("router", "router"),
    ("peer", "registry of the peer"),
)


def waterfall(spans: Sequence[ReceivedSpan]) -> str:
    """SVG of a whole trace, light or dark as the reader prefers; its root is the earliest span."""
    rows = [*_rows(spans)]
    begin = min(span.start_ns for span in spans)
    whole_ns = max(span.end_ns for span in spans) - begin
    root_ms = (rows[0][0].end_ns - begin) / 1e6
    requester = next((_node(span) for span, _ in rows if span.service_name == "heliograph-registry"), "")
    scale = (WIDTH - NAMES - 70) / whole_ns
    height = TOP + ROW * len(rows) + 8
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>One pull, {len(rows)} spans in {root_ms:.0f} ms</title><style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        *_legend(),
        *_axis(whole_ns, scale, height),
    ]
    for number, (span, depth) in enumerate(rows):
        y = TOP + ROW * number
        x = NAMES + (span.start_ns - begin) * scale
        width = max(FEWEST_PIXELS, (span.end_ns - span.start_ns) * scale)
        ms = (span.end_ns - span.start_ns) / 1e6
        if number % 2:
            drawn.append(f'<rect class="odd" y="{y}" width="{WIDTH}" height="{ROW}"/>')
        bar = f'x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="11" rx="2"'
        drawn += [
            f'<text x="{8 + 9 * depth}" y="{y + 14}">{escape(_label(span))}</text>',
            f'<rect class="{_part(span, requester)}" {bar}/>',
            f'<text class="dim" x="{x + width + 4:.1f}" y="{y + 14}">{ms:.1f}</text>',
        ]
    return "\n".join([*drawn, "</svg>", ""])


def _rows(spans: Sequence[ReceivedSpan]) -> Iterator[tuple[ReceivedSpan, int]]:
    """Each span with its depth; children after their parent, the earliest first."""
    known = {span.span_id for span in spans}
    left = [(span, 0) for span in spans if span.parent_span_id not in known]
    left.sort(key=lambda row: row[0].start_ns, reverse=True)
    while left:
        span, depth = left.pop()
        yield span, depth
        children = sorted(
            (child for child in spans if child.parent_span_id == span.span_id),
            key=lambda child: child.start_ns,
            reverse=True,
        )
        left += [(child, depth + 1) for child in children]


def _label(span: ReceivedSpan) -> str:
    """The span's name, with what it was about where that is short."""
    path = str(span.attributes.get("url.path") or span.attributes.get("url.full", ""))
    if not path:
        digest = str(
            span.attributes.get("layer.media.digest") or span.attributes.get("descriptor.digest", "")
        )
        return f"{span.name.rpartition('.')[2]} {digest[7:15]}".rstrip()
    kind, _, reference = path.partition("?")[0].rpartition("/")
    name = span.name.partition(" ")[0]
    method = "" if name in {"GET", "HEAD"} else f" {span.attributes.get('http.request.method', '')!s}"
    short = reference.removeprefix("sha256:")[:8] if ":" in reference else reference
    return f"{name.rpartition('.')[2]}{method} {kind.rpartition('/')[2]}/{short}"


def _node(span: ReceivedSpan) -> str:
    return str(span.resource.get("service.instance.id", ""))


def _part(span: ReceivedSpan, requester: str) -> str:
    match span.service_name:
        case "heliograph-router":
            return "router"
        case "heliograph-registry":
            return "mirror" if _node(span) == requester else "peer"
        case _:
            return "containerd"


def _legend() -> Iterator[str]:
    x = 8
    for part, words in LEGEND:
        yield f'<rect class="{part}" x="{x}" y="10" width="11" height="11" rx="2"/>'
        yield f'<text x="{x + 16}" y="20">{words}</text>'
        x += 42 + 7 * len(words)


def _axis(whole_ns: int, scale: float, height: int) -> Iterator[str]:
    """A line every 1, 2 or 5 times ten milliseconds, at most eight of them."""
    whole_ms = whole_ns / 1e6
    step = next(
        base * 10**power for power in range(6) for base in (1, 2, 5) if whole_ms / (base * 10**power) <= 8
    )
    for number in range(int(whole_ms / step) + 1):
        x = NAMES + number * step * 1e6 * scale
        yield f'<line class="line" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height}"/>'
        yield f'<text class="dim" x="{x:.1f}" y="{TOP - 10}" text-anchor="middle">{number * step} ms</text>'
