"""The icon says its status by shape and by colour, at every size, on every panel.

After a change that was meant, `TFGPU_REWRITE_GOLDEN=1 pytest tests/tray/test_drawing.py` rewrites
the golden pictures, and the pictures in `icons/` that are drawn by the same code. Look at
`icons/overview.png` before you commit them.
"""

from __future__ import annotations

import os
import time
import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageStat

from tfgpu_tray.tray.drawing import COLOURS, INK, PAUSED_INK, TILE, draw, emblem
from tfgpu_tray.tray.status import Status

REWRITE = os.environ.get("TFGPU_REWRITE_GOLDEN") == "1"
GOLDEN = Path(__file__).parent / "golden"
ICONS = Path(__file__).parents[2] / "icons"
SIZES = (16, 20, 24, 32, 48, 64)
PANELS = ("#f3f3f3", "#202020")
# Everything that can be seen: each status, and a repair whose progress is known.
VIEWS: dict[str, tuple[Status, float | None]] = {
    **{status.value: (status, None) for status in Status if status is not Status.PAUSED},
    "repairing-40": (Status.REPAIRING, 0.4),
    "paused": (Status.PAUSED, None),
}


def on_panel(picture: Image.Image, panel: str) -> Image.Image:
    below = Image.new("RGBA", picture.size, panel)
    return Image.alpha_composite(below, picture.convert("RGBA")).convert("RGB")


def looks_like(one: Image.Image, other: Image.Image) -> bool:
    """The same but for what another version of Pillow may do: an edge moved by an eighth pixel."""
    if one.size != other.size:
        return False
    differences = [
        ImageChops.difference(on_panel(one, panel), on_panel(other, panel)) for panel in PANELS
    ]
    measured = [ImageStat.Stat(difference) for difference in differences]
    worst = max(high for stat in measured for _, high in stat.extrema)
    mean = max(value for stat in measured for value in stat.mean)
    return worst <= 56 and mean <= 2


def check_golden(path: Path, picture: Image.Image) -> None:
    if REWRITE:
        path.parent.mkdir(exist_ok=True)
        picture.save(path, optimize=True)
    with Image.open(path) as golden:
        assert looks_like(picture, golden), f"{path.name} no longer shows what is drawn"


def sheet(status: Status, progress: float | None) -> Image.Image:
    """One status in all sizes: above for a light panel, below for a dark one."""
    picture = Image.new("RGBA", (sum(SIZES), 2 * max(SIZES)))
    for row in (0, 1):
        x = 0
        for size in SIZES:
            icon = draw(status, size, dark=bool(row), progress=progress)
            picture.paste(icon, (x, row * max(SIZES)))
            x += size
    return picture


def overview() -> Image.Image:
    """All views in all sizes on both panels, the small ones enlarged pixel by pixel."""
    cell, margin = 96, 12
    enlarged = [(size, max(1, 72 // size)) for size in SIZES]
    height = sum(size * times + margin for size, times in enlarged) + margin
    picture = Image.new("RGB", (cell * len(VIEWS), 2 * height))
    paint = ImageDraw.Draw(picture)
    for row, panel in enumerate(PANELS):
        y = row * height
        paint.rectangle((0, y, picture.width, y + height), panel)
        for size, times in enlarged:
            y += margin
            for column, (status, progress) in enumerate(VIEWS.values()):
                icon = draw(status, size, dark=bool(row), progress=progress)
                icon = icon.resize((size * times,) * 2, Image.Resampling.NEAREST)
                picture.paste(icon, (column * cell + (cell - icon.width) // 2, y), icon)
            y += size * times
    return picture


def silhouette(view: str, size: int, dark: bool) -> Image.Image:
    status, progress = VIEWS[view]
    return draw(status, size, dark=dark, progress=progress).getchannel("A")


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (value / 255 for value in ImageColor.getrgb(colour)[:3])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("view", VIEWS)
def test_the_icon_looks_as_it_did(view: str) -> None:
    check_golden(GOLDEN / f"{view}.png", sheet(*VIEWS[view]))


def test_the_pictures_for_people_show_what_is_drawn() -> None:
    check_golden(ICONS / "tfgpu-tray.png", emblem(256))
    check_golden(ICONS / "overview.png", overview())


def test_the_comparison_sees_small_changes() -> None:
    picture = sheet(Status.OK, None)
    half = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BOX)
    moved = ImageChops.offset(half, 1, 0).reduce(2)
    assert not looks_like(picture, moved)
    ring = sheet(Status.REPAIRING, 0.4)
    assert not looks_like(ring, sheet(Status.REPAIRING, 0.45))
    assert not looks_like(picture, sheet(Status.PAUSED, None))


@pytest.mark.parametrize("size", [1, 8, 16, 17, 22, 40, 64, 100, 256])
def test_the_size_asked_is_the_size_given(size: int) -> None:
    for picture in (draw(Status.OK, size), emblem(size)):
        assert (picture.mode, picture.size) == ("RGBA", (size, size))


@pytest.mark.parametrize("view", VIEWS)
def test_the_same_request_gives_the_same_pixels(view: str) -> None:
    assert sheet(*VIEWS[view]).tobytes() == sheet(*VIEWS[view]).tobytes()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_any_two_statuses_differ_by_shape_alone(size: int, dark: bool) -> None:
    for one, other in combinations(VIEWS, 2):
        difference = ImageChops.difference(
            silhouette(one, size, dark), silhouette(other, size, dark)
        )
        clearly = sum(difference.histogram()[128:]) / size**2
        assert clearly > 0.04, f"{one} and {other} share all but {clearly:.1%} of {size} px"


@pytest.mark.parametrize("dark", [False, True])
def test_any_two_statuses_differ_by_colour_alone(dark: bool) -> None:
    for one, other in combinations(Status, 2):
        pair = (ImageColor.getrgb(COLOURS[status][dark]) for status in (one, other))
        assert sum(abs(a - b) for a, b in zip(*pair, strict=True)) > 90, (one, other)


@pytest.mark.parametrize("status", Status)
def test_every_status_stands_out_from_its_panel(status: Status) -> None:
    light, dark = COLOURS[status]
    assert contrast(light, PANELS[0]) >= 4.5
    assert contrast(dark, PANELS[1]) >= 4.5
    # Three is what WCAG asks of symbols; panels differ from one desktop to the next.
    assert all(contrast(light, panel) >= 3 for panel in ("#ffffff", "#dcdcdc"))
    assert all(contrast(dark, panel) >= 3 for panel in ("#000000", "#3c3c3c"))


def test_the_chip_stands_out_from_its_panel() -> None:
    for row, panel in enumerate(PANELS):
        assert contrast(INK[row], panel) >= 7
        assert contrast(PAUSED_INK[row], panel) >= 3


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_has_the_colour_of_the_chip_or_of_the_status(view: str, size: int) -> None:
    status, progress = VIEWS[view]
    for dark in (False, True):
        ink = PAUSED_INK if status is Status.PAUSED else INK
        expected = {ImageColor.getrgb(c) for c in (ink[dark], COLOURS[status][dark])}
        picture = draw(status, size, dark=dark, progress=progress)
        colours = picture.convert("RGB").getcolors()
        assert colours is not None
        assert {colour for _, colour in colours} == expected


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", [16, 20, 22, 24])
def test_the_chips_edges_lie_on_the_pixel_grid(view: str, size: int) -> None:
    alpha = silhouette(view, size, dark=False)
    pins = alpha.crop((0, 0, size, 2)), alpha.crop((0, 0, 2, size // 2))
    assert all(set(edge.tobytes()) == {0, 255} for edge in pins)


@pytest.mark.parametrize("size", SIZES)
def test_the_ring_fills_with_progress(size: int) -> None:
    steps = [draw(Status.REPAIRING, size, progress=n / 10).getchannel("A") for n in range(11)]
    for before, after in pairwise(steps):
        assert ImageStat.Stat(after).sum[0] > ImageStat.Stat(before).sum[0]
        taken_back = ImageStat.Stat(ImageChops.subtract(before, after)).extrema[0][1]
        assert taken_back <= 16


def test_progress_has_its_bounds_and_its_status() -> None:
    assert draw(Status.REPAIRING, 32, progress=-1) == draw(Status.REPAIRING, 32, progress=0)
    assert draw(Status.REPAIRING, 32, progress=7) == draw(Status.REPAIRING, 32, progress=1)
    assert draw(Status.BROKEN, 32, progress=0.5) == draw(Status.BROKEN, 32)


def test_drawing_takes_less_than_five_milliseconds() -> None:
    def seconds(status: Status) -> float:
        start = time.thread_time()
        draw(status, 64)
        return time.thread_time() - start

    for status in Status:
        assert min(seconds(status) for _ in range(20)) < 0.005


@pytest.mark.parametrize("status", Status)
def test_the_artwork_has_the_colours_of_the_drawing(status: Status) -> None:
    path = ICONS / f"tfgpu-tray-{status}.svg"
    assert ElementTree.parse(path).getroot().get("viewBox") == "0 0 64 64"
    ink = PAUSED_INK if status is Status.PAUSED else INK
    text = path.read_text(encoding="utf-8")
    assert all(colour in text for colour in (*ink, *COLOURS[status]))


def test_the_products_icon_has_the_colours_of_the_drawing() -> None:
    text = (ICONS / "tfgpu-tray.svg").read_text(encoding="utf-8")
    assert all(colour in text for colour in (TILE, INK[1], COLOURS[Status.OK][1]))
