"""JPEG files that lack their end mark and nothing else."""

import io

import numpy as np
from PIL import Image

_END, _MARK = b"\xff\xd9", b"\xff"
_FILLERS = (b"", b"\x5a\xc3\x99\x2d" * 16)  # bits that, if any were needed, would give other pixels


def mend_jpeg(data: bytes) -> Image.Image | None:
    """Decode a JPEG file whose end mark is missing, in whole or by half; None if more is missing.

    A decoder makes up what a cut file lacks. So the file is decoded twice, the end followed by the mark and by other
    bits: equal pixels need none of them.
    """
    body = data.removesuffix(_MARK)
    images = []
    for filler in _FILLERS:
        image = Image.open(io.BytesIO(body + filler + _END), formats=["JPEG"])
        try:
            image.load()
        except OSError:
            return None
        images.append(image)
    first, second = images
    return first if np.array_equal(np.asarray(first), np.asarray(second)) else None
