"""Bands of rows of a decoded picture: what is computed for one at a time takes no memory for the whole."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from codec.images.pixels import Samples

if TYPE_CHECKING:
    from PIL import Image

BAND_PX = 1 << 17  # pixels of a band: of all that a conversion makes of one, it takes tens of megabytes


def bands(height: int, width: int) -> Iterator[slice]:
    """Yield slices of rows, from the top to the bottom, of about `BAND_PX` pixels each."""
    rows = max(1, BAND_PX // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def band_of(image: "Image.Image", rows: slice, mode: str) -> Samples:
    """Return the samples of some rows of a loaded picture, as Pillow converts them to a mode."""
    band = image.crop((0, rows.start, image.width, rows.stop))
    return np.asarray(band if band.mode == mode else band.convert(mode))
