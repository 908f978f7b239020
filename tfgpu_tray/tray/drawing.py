"""The icon: a chip, and beside it a sign for how TensorFlow's GPU support stands.

Each status has a silhouette of its own, drawn in a colour of its own, so that it is told apart by
either: macOS keeps only the shape of a template icon, and one man in twelve confuses red and green.
Nothing is painted over anything else. The chip is notched around the sign, so each pixel holds one
of two colours in some opacity and no edge shows a third one, whatever the panel's colour.

At the sizes that trays use, every straight edge lies on the pixel grid. Below 20 pixels the chip
keeps little more than a corner, and the sign takes two thirds of the width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw

from tfgpu_tray.tray.status import Status

# Light panel, dark panel. Against #f3f3f3 and #202020 every one has a contrast of 4.5 or more,
# but for the chip while watching is paused, which steps back.
INK = ("#2b3038", "#eceff3")
PAUSED_INK = ("#828b96", "#8a939e")
COLOURS = {
    Status.OK: ("#1a7f37", "#4ac26b"),
    Status.DEGRADED: ("#b45309", "#ffb52e"),
    Status.BROKEN: ("#cf222e", "#ff6b66"),
    Status.UNKNOWN: ("#7a45d6", "#b99cff"),
    Status.REPAIRING: ("#0969da", "#5cb0ff"),
    Status.PAUSED: ("#56616d", "#b4bec9"),
}
TILE = "#242b35"

SUPERSAMPLING = 8
TRACK = 90  # opacity of the part of a progress ring that is still to come, of 255

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Grid:
    """Measures in whole pixels of an icon that is `size` wide.

    `badge` and `stroke` are both odd or both even: then a stroke in the middle of the badge has
    both of its edges on the pixel grid.
    """

    size: int
    pin: int  # length
    body: int  # of the chip, without its pins
    corner: int
    wall: int
    pins: tuple[int, ...]  # where each begins, from the body's edge; a pin is as wide as the wall
    core: int
    badge: int
    gap: int
    stroke: int


GRIDS = (
    Grid(16, 2, 10, 1, 2, (2, 6), 0, 11, 1, 3),
    Grid(20, 2, 10, 1, 2, (2, 6), 2, 13, 1, 3),
    Grid(22, 2, 12, 2, 2, (2, 5, 8), 4, 13, 2, 3),
    Grid(24, 2, 14, 2, 2, (2, 6, 10), 4, 14, 2, 4),
    Grid(32, 3, 21, 3, 3, (3, 9, 15), 5, 18, 2, 4),
    Grid(48, 5, 30, 5, 4, (5, 13, 21), 10, 24, 2, 6),
    Grid(64, 6, 41, 6, 5, (6, 18, 30), 15, 32, 3, 8),
)


def draw(
    status: Status, size: int, *, dark: bool = False, progress: float | None = None
) -> Image.Image:
    """RGBA picture, *size* pixels square, for a panel that is light, or *dark*.

    *progress* (0 to 1) fills the ring of a repair; without it the ring shows that work goes on.
    """
    grid = max((g for g in GRIDS if g.size <= size), key=lambda g: g.size, default=GRIDS[0])
    chip, notch, badge = (Layer(size, size / grid.size) for _ in range(3))
    _chip(chip, grid)
    _notch(chip, grid, status, 0)
    _notch(notch, grid, status, 255)
    _badge(badge, grid, status, progress)

    alpha, sign = chip.shrunk(), badge.shrunk()
    # Transparent pixels take their neighbours' colour: a panel that scales the icon blends it in.
    coloured = _any(notch.shrunk())
    coloured.paste(0, mask=_any(alpha))
    coloured.paste(255, mask=_any(sign))
    alpha.paste(sign, mask=_any(sign))
    ink = PAUSED_INK if status is Status.PAUSED else INK
    picture = Image.new("RGB", (size, size), ink[dark])
    picture.paste(COLOURS[status][dark], mask=coloured)
    picture.putalpha(alpha)
    return picture


def emblem(size: int, status: Status = Status.OK) -> Image.Image:
    """The product's icon, for a launcher or a notification: on a tile, as no panel is known."""
    tile = Layer(size, size / 64)
    tile.rectangle(0, 0, 64, 64, 14)
    picture = Image.new("RGB", (size, size), TILE)
    inner = draw(status, max(1, size * 3 // 4), dark=True)
    picture.paste(inner, ((size - inner.width) // 2,) * 2, inner)
    picture.putalpha(tile.shrunk())
    return picture


class Layer:
    """One opacity for each pixel, drawn in a grid's units, larger than it will be shown."""

    def __init__(self, size: int, unit: float) -> None:
        self._unit = unit * SUPERSAMPLING
        self._image = Image.new("L", (size * SUPERSAMPLING,) * 2)
        self._draw = ImageDraw.Draw(self._image)

    def shrunk(self) -> Image.Image:
        return self._image.reduce(SUPERSAMPLING)

    def rectangle(
        self, x: float, y: float, width: float, height: float, corner: float = 0, fill: int = 255
    ) -> None:
        self._draw.rounded_rectangle(self._box(x, y, width, height), corner * self._unit, fill=fill)

    def disc(self, centre: Point, radius: float, fill: int = 255) -> None:
        x, y = centre
        self._draw.ellipse(self._box(x - radius, y - radius, 2 * radius, 2 * radius), fill=fill)

    def polygon(self, points: Sequence[Point], fill: int = 255) -> None:
        # Pillow draws the pixels under the outline too, so the outline keeps to their middles.
        self._draw.polygon([(x * self._unit - 0.5, y * self._unit - 0.5) for x, y in points], fill)

    def stroke(self, points: Sequence[Point], width: float, fill: int = 255) -> None:
        """A line through *points* with round ends and joints."""
        for (x0, y0), (x1, y1) in pairwise(points):
            scale = width / 2 / math.hypot(x1 - x0, y1 - y0)
            dx, dy = (y0 - y1) * scale, (x1 - x0) * scale
            self.polygon(
                [(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)],
                fill,
            )
        for point in points:
            self.disc(point, width / 2, fill)

    def arc(
        self, centre: Point, radius: float, width: float, start: float, end: float, fill: int = 255
    ) -> None:
        """Clockwise, angles in degrees from the top, *radius* to the middle of the line."""
        x, y = centre
        outer = radius + width / 2
        self._draw.arc(
            self._box(x - outer, y - outer, 2 * outer, 2 * outer),
            start - 90,
            end - 90,
            fill,
            round(width * self._unit),
        )
        for angle in (start, end):
            self.disc(around(centre, radius, angle), width / 2, fill)

    def _box(self, x: float, y: float, width: float, height: float) -> tuple[int, int, int, int]:
        """Pillow's boxes include their last pixel; none is empty."""
        x0, y0, x1, y1 = (round(v * self._unit) for v in (x, y, x + width, y + height))
        return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)


def around(centre: Point, radius: float, angle: float) -> Point:
    turn = math.radians(angle)
    return centre[0] + radius * math.sin(turn), centre[1] - radius * math.cos(turn)


def _any(layer: Image.Image) -> Image.Image:
    return layer.point(lambda opacity: 255 if opacity else 0)


def _chip(layer: Layer, grid: Grid) -> None:
    pin, body, wall = grid.pin, grid.body, grid.wall
    across = body + 2 * pin
    rounding = wall / 4 if grid.size >= 32 else 0
    for place in grid.pins:
        layer.rectangle(pin + place, 0, wall, across, rounding)
        layer.rectangle(0, pin + place, across, wall, rounding)
    layer.rectangle(pin, pin, body, body, grid.corner)
    inner = max(0, grid.corner - wall / 2)
    layer.rectangle(pin + wall, pin + wall, body - 2 * wall, body - 2 * wall, inner, fill=0)
    if grid.core:
        start = (across - grid.core) / 2
        layer.rectangle(start, start, grid.core, grid.core, 2 * rounding)


def _notch(layer: Layer, grid: Grid, status: Status, fill: int) -> None:
    """The badge's place and the gap around it; open to the right and below, to leave no crumbs."""
    if status is Status.DEGRADED:
        width, height = _triangle(layer, grid, grid.gap, fill)
        x, y = grid.size - width / 2, grid.size - height - grid.gap
        layer.rectangle(x, y, width, 2 * height, 0, fill)
    else:
        start, across = grid.size - grid.badge - grid.gap, grid.badge + 2 * grid.gap
        corner = across / 2 if grid.core else 2
        layer.rectangle(start, start, 2 * across, 2 * across, corner, fill)


def _badge(layer: Layer, grid: Grid, status: Status, progress: float | None) -> None:
    stroke = grid.stroke
    low, high = grid.size - grid.badge + stroke / 2, grid.size - stroke / 2  # of a stroke's middle
    span, centre = high - low, ((low + high) / 2,) * 2

    def at(x: float, y: float) -> Point:
        return low + x * span, low + y * span

    match status:
        case Status.OK:
            layer.stroke([at(0, 0.58), at(0.36, 0.94), at(1, 0.12)], stroke)
        case Status.DEGRADED:
            _triangle(layer, grid, 0, 255)
            _exclamation(layer, grid)
        case Status.BROKEN:
            start = 0.07 if grid.core else 0.02  # its corner keeps off the core
            layer.stroke([at(start, start), at(1 - start, 1 - start)], stroke)
            layer.stroke([at(start, 1 - start), at(1 - start, start)], stroke)
        case Status.UNKNOWN:
            _question(layer, grid)
        case Status.REPAIRING:
            if progress is None:
                _turning(layer, grid)
            else:
                done = min(max(progress, 0.0), 1.0)
                layer.arc(centre, span / 2, stroke, 0, 360, TRACK)
                layer.arc(centre, span / 2, stroke, 0, 360 * done)
        case Status.PAUSED:
            _bars(layer, grid)


def _triangle(layer: Layer, grid: Grid, grown: float, fill: int) -> tuple[float, float]:
    """Width and height of the warning sign without its mark, drawn larger by *grown* all around.

    It is wider than other badges, to look as large, and even, so that a mark of two pixels fits.
    """
    width = grid.badge + 2 - grid.badge % 2
    height = round(width * 0.92)
    left, bottom, corner = grid.size - width, grid.size, max(1, width / 10)
    points = [
        (left + width / 2, bottom - height + corner),
        (left + width - corner, bottom - corner),
        (left + corner, bottom - corner),
    ]
    layer.polygon(points, fill)
    layer.stroke([*points, points[0]], 2 * (corner + grown), fill)
    return width, height


def _exclamation(layer: Layer, grid: Grid) -> None:
    width = grid.badge + 2 - grid.badge % 2
    mark = 2 * max(1, round(width / 14))
    x = grid.size - width / 2 - mark / 2
    dot = grid.size - max(1, round(width * 0.12)) - mark
    gap = max(1, round(width * 0.07))
    length = round(width * 0.27)
    rounding = mark / 2 if grid.size >= 48 else 0
    layer.rectangle(x, dot - gap - length, mark, length, rounding, fill=0)
    layer.rectangle(x, dot, mark, mark, rounding, fill=0)


def _question(layer: Layer, grid: Grid) -> None:
    badge = grid.badge
    width, radius, end = 0.22 * badge, 0.235 * badge, 135
    x, top = grid.size - badge / 2, grid.size - badge
    bow = (x, top + radius + width / 2)
    layer.arc(bow, radius, width, -85, end)
    layer.stroke([around(bow, radius, end), (x, top + 0.59 * badge)], width)
    layer.disc((x, grid.size - 0.12 * badge), 0.12 * badge)


def _bars(layer: Layer, grid: Grid) -> None:
    inset, bar, gap = round(grid.badge * 0.08), round(grid.badge * 0.27), grid.stroke
    start = grid.size - grid.badge / 2 - gap / 2
    top, height = grid.size - grid.badge + inset, grid.badge - 2 * inset
    for x in (start - bar, start + gap):
        layer.rectangle(x, top, bar, height, grid.stroke / 4)


def _turning(layer: Layer, grid: Grid) -> None:
    """Two arrows that follow each other around."""
    width = 0.2 * grid.badge
    head = width
    centre, radius = (grid.size - grid.badge / 2,) * 2, grid.badge / 2 - 0.65 * head
    for start in (25, 205):
        end = start + 95
        layer.arc(centre, radius, width, start, end)
        tip = math.degrees(1.75 * head / radius)
        layer.polygon(
            [
                around(centre, radius - head, end),
                around(centre, radius + head, end),
                around(centre, radius, end + tip),
            ]
        )
