"""Pictures as D-Bus carries them: plain bytes, which need no Pillow to be kept and sent."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

# Pixels. Panels scale the nearest one; Windows wants 16 at 96 dots per inch, 40 at 240.
SIZES = (16, 20, 24, 28, 32, 40, 48, 64) if sys.platform == "win32" else (16, 22, 24, 32, 48, 64)
Pixmap = tuple[int, int, bytes]  # width, height, ARGB32 in network byte order


def argb(picture: Image) -> bytes:
    """The bytes of an RGBA picture in the order alpha, red, green, blue."""
    from PIL import Image

    red, green, blue, alpha = picture.split()
    return Image.merge("RGBA", (alpha, red, green, blue)).tobytes()


def nearest(pixmaps: Sequence[Pixmap], size: int) -> Pixmap:
    """The smallest that need not be enlarged to *size* pixels, else the largest."""
    enough = [pixmap for pixmap in pixmaps if pixmap[0] >= size]
    if enough:
        return min(enough, key=lambda pixmap: pixmap[0])
    return max(pixmaps, key=lambda pixmap: pixmap[0])


def icon_resource(pixmap: Pixmap) -> bytes:
    """As Windows keeps icons (wingdi.h, BITMAPINFOHEADER): the last line first, in the order blue,
    green, red, alpha, then a mask that hides nothing."""
    width, height, data = pixmap
    pixels = array("I", data)
    pixels.byteswap()
    turned = pixels.tobytes()
    lines = [turned[start : start + 4 * width] for start in range(0, len(turned), 4 * width)]
    header = struct.pack("<IiiHHIIiiII", 40, width, 2 * height, 1, 32, 0, 0, 0, 0, 0, 0)
    mask = bytes((width + 31) // 32 * 4 * height)
    return b"".join((header, *reversed(lines), mask))
