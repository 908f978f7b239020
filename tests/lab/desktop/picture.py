"""Icons in a picture of the tray."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageChops

from tests.lab.machine import REPOSITORY

GAP = 6  # pixels; fewer blank columns than this lie within one icon
CONTRAST = 48  # of 255; the frame that the panel draws under the pointer is paler than that


class Box(NamedTuple):
    """A part of the screen in pixels; right and bottom lie outside it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def centre(self) -> tuple[int, int]:
        return (self.left + self.right) // 2, (self.top + self.bottom) // 2


class Colour(StrEnum):
    """What a person would call the colour of an icon."""

    RED = "red"
    AMBER = "amber"
    GREEN = "green"
    BLUE = "blue"
    VIOLET = "violet"
    GREY = "grey"  # black and white, too


# Upper ends, in degrees.
HUES = (
    (20, Colour.RED),
    (70, Colour.AMBER),
    (170, Colour.GREEN),
    (255, Colour.BLUE),
    (335, Colour.VIOLET),
    (361, Colour.RED),
)


@dataclass(frozen=True, slots=True)
class TrayIcon:
    box: Box  #: of what is drawn, without the blank around it
    colour: Colour


def keep(picture: Image.Image, name: str) -> Path:
    """Saves it, named after the running test, where TFGPU_ARTEFACTS says."""
    folder = Path(os.environ.get("TFGPU_ARTEFACTS") or REPOSITORY / "build" / "screens")
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition("::")[2].rpartition(" ")[0]
    stem = "-".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in (test, name) if part)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.png"
    picture.save(path)
    return path


def tray_icons(screen: Image.Image, tray: Box) -> tuple[TrayIcon, ...]:
    """The icons from left to right.

    The tray's last column must be empty, as its colour is taken for the background.
    """
    picture = screen.crop(tray).convert("RGB")
    blank = picture.getpixel((picture.width - 1, picture.height // 2))
    plain = Image.new("RGB", picture.size, blank)
    drawn = ImageChops.difference(picture, plain).convert("L")
    drawn = drawn.point([255 if value > CONTRAST else 0 for value in range(256)])
    return tuple(_icon(picture, drawn, tray, columns) for columns in _columns(drawn))


def _columns(drawn: Image.Image) -> list[tuple[int, int]]:
    """(first, last + 1) of each run of columns that hold something."""
    filled, _rows = drawn.getprojection()
    runs: list[tuple[int, int]] = []
    for full, group in groupby(enumerate(filled), key=lambda pair: bool(pair[1])):
        if full:
            columns = [column for column, _ in group]
            if runs and columns[0] - runs[-1][1] < GAP:
                columns.insert(0, runs.pop()[0])
            runs.append((columns[0], columns[-1] + 1))
    return runs


def _icon(
    picture: Image.Image, drawn: Image.Image, tray: Box, columns: tuple[int, int]
) -> TrayIcon:
    band = (columns[0], 0, columns[1], picture.height)
    inside = drawn.crop(band).getbbox() or (0, 0, columns[1] - columns[0], picture.height)
    top, bottom = inside[1], inside[3]
    box = Box(tray.left + columns[0], tray.top + top, tray.left + columns[1], tray.top + bottom)
    shape = (columns[0], top, columns[1], bottom)
    return TrayIcon(box, _colour(picture.crop(shape), drawn.crop(shape)))


def _colour(icon: Image.Image, drawn: Image.Image) -> Colour:
    """The most frequent saturated colour; grey where less than a tenth is saturated."""
    seen: Counter[Colour] = Counter()
    total = 0
    hsv = icon.convert("HSV")
    for x in range(icon.width):
        for y in range(icon.height):
            if drawn.getpixel((x, y)):
                total += 1
                pixel = hsv.getpixel((x, y))
                assert isinstance(pixel, tuple)
                hue, saturation, value = pixel
                if saturation > 90 and value > 60:
                    degrees = hue * 360 / 255
                    seen[next(name for end, name in HUES if degrees < end)] += 1
    if seen.total() < total / 10:
        return Colour.GREY
    return seen.most_common(1)[0][0]
