"""Pictures as D-Bus carries them: plain bytes, which need no Pillow to be kept and sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

SIZES = (16, 22, 24, 32, 48, 64)  # pixels; panels scale the nearest one
Pixmap = tuple[int, int, bytes]  # width, height, ARGB32 in network byte order


def argb(picture: Image) -> bytes:
    """The bytes of an RGBA picture in the order alpha, red, green, blue."""
    from PIL import Image

    red, green, blue, alpha = picture.split()
    return Image.merge("RGBA", (alpha, red, green, blue)).tobytes()
