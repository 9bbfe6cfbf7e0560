"""Lays out the picture of this node's traffic with other nodes, for a template to draw. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from heliograph_registry.mirror.domain.traffic import Share, Traffic

WIDTH = 360
_MOST_NODES = 5
_ROW, _TOP = 42, 30
_BOX_WIDTH = 74
_LABEL_WIDTH = 104
_THICKEST, _THINNEST = 18.0, 1.5
_MOST_LETTERS = 15


@dataclass(frozen=True, slots=True)
class PictureLine:
    """A node's label at (x, y), and the curve between it and the box in the middle, `thickness` wide."""

    share: Share
    label: str
    x: float
    y: float
    path: str
    thickness: float


@dataclass(frozen=True, slots=True)
class TrafficPicture:
    """`received` are the nodes that served this one, `sent` those that it served."""

    width: int
    height: int
    box_x: float
    box_y: float
    box_width: int
    box_height: float
    received: tuple[PictureLine, ...]
    sent: tuple[PictureLine, ...]


def traffic_picture(received: Traffic, sent: Traffic) -> TrafficPicture | None:
    """None when there was no traffic."""
    left, right = _shares(received), _shares(sent)
    if not left and not right:
        return None
    rows = max(len(left), len(right))
    height = _TOP + rows * _ROW + 6
    most = max(share.size_bytes for share in (*left, *right))
    box_x = (WIDTH - _BOX_WIDTH) / 2
    box_height = min(rows * _ROW - 8, 120)
    middle = _TOP + rows * _ROW / 2
    box_y = middle - box_height / 2

    def side(shares: Sequence[Share], near: float, far: float) -> tuple[PictureLine, ...]:
        lines = []
        for number, share in enumerate(shares):
            y = middle + (number - (len(shares) - 1) / 2) * _ROW
            inner = middle + (number - (len(shares) - 1) / 2) * (box_height / max(1, len(shares)))
            bend = (near + far) / 2
            path = f"M{far:.1f} {y:.1f}C{bend:.1f} {y:.1f} {bend:.1f} {inner:.1f} {near:.1f} {inner:.1f}"
            thickness = _thickness(share.size_bytes, most)
            lines.append(PictureLine(share, _label(share), far, y, path, thickness))
        return tuple(lines)

    return TrafficPicture(
        width=WIDTH,
        height=height,
        box_x=box_x,
        box_y=box_y,
        box_width=_BOX_WIDTH,
        box_height=box_height,
        received=side(left, box_x, _LABEL_WIDTH),
        sent=side(right, box_x + _BOX_WIDTH, WIDTH - _LABEL_WIDTH),
    )


def _shares(traffic: Traffic) -> tuple[Share, ...]:
    named, others = traffic.shares(_MOST_NODES)
    return (*named, others) if others.times else named


def _thickness(size_bytes: int, most: int) -> float:
    """Proportional to the square root, so that small amounts stay visible."""
    return max(_THINNEST, _THICKEST * math.sqrt(size_bytes / most)) if most else _THINNEST


def _label(share: Share) -> str:
    return shortened(share.node or "others", _MOST_LETTERS)


def shortened(name: str, most: int) -> str:
    """At most `most` characters: the middle is left out, because names of nodes differ at both ends."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[-(most - 1 - head) :]}"
