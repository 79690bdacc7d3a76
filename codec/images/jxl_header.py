"""Size and depth of a JPEG XL file, read from its first bytes: the decoder knows them only once all is decoded.

Format: ISO/IEC 18181-1:2024, sections D.2 (SizeHeader) and D.3 (ImageMetadata).
"""

from typing import NamedTuple

from codec.errors import ImageError
from codec.images import isobmff

CODESTREAM, CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width / height
_SIDE = ((1, 9), (1, 13), (1, 18), (1, 30))  # of each selector: what is added to how many bits
_PREVIEW_EIGHTHS, _PREVIEW_SIDE = ((16, 0), (32, 0), (1, 5), (33, 9)), ((1, 6), (65, 8), (321, 10), (1345, 12))
_ANIMATION = (((100, 0), (1000, 0), (1, 10), (1, 30)), ((1, 0), (1001, 0), (1, 8), (1, 10)),
              ((0, 0), (0, 3), (0, 16), (0, 32)))  # fmt: skip
_INTEGER_BITS, _FLOAT_BITS = ((8, 0), (10, 0), (12, 0), (1, 6)), ((32, 0), (16, 0), (24, 0), (1, 6))


class JxlHeader(NamedTuple):
    """Width and height as coded, bits per sample, whether the file is an animation, and orientation as in EXIF."""

    width: int
    height: int
    bits: int
    is_animation: bool
    orientation: int = 1


class _Bits:
    """Reader of bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self.left:
            raise ImageError("truncated JPEG XL file: its header is cut off: copy or export it again")
        value, self.value, self.left = self.value & (1 << count) - 1, self.value >> count, self.left - count
        return value

    def choose(self, choices: tuple[tuple[int, int], ...]) -> int:
        """Return a number of one of four sizes, which two bits select."""
        base, count = choices[self.take(2)]
        return base + self.take(count)


def read_jxl_header(data: bytes) -> JxlHeader:
    """Return what the header of a JPEG XL file says, a bare codestream or a container.

    Raises:
        ImageError: there is no codestream, or it is cut off.
    """
    stream = data
    if data.startswith(CONTAINER):
        found = next((box for box in isobmff.boxes(data) if box.kind in (b"jxlc", b"jxlp")), None)
        if found is None:
            raise ImageError("JPEG XL file without a whole codestream: copy or export it again")
        stream = data[found.begin + 4 * (found.kind == b"jxlp") : found.end]
    if not stream.startswith(CODESTREAM):
        raise ImageError("damaged JPEG XL file: its codestream has no signature: copy or export it again")
    bits = _Bits(stream[2:80])
    width, height = _size(bits)
    if bits.take(1):  # all default
        return JxlHeader(width, height, 8, False)
    orientation, is_animation = _extra_fields(bits) if bits.take(1) else (1, False)
    depth = bits.choose(_FLOAT_BITS if bits.take(1) else _INTEGER_BITS)
    return JxlHeader(width, height, depth, is_animation, orientation)


def _size(bits: _Bits) -> tuple[int, int]:
    is_small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if is_small else bits.choose(_SIDE)
    if ratio := bits.take(3):
        return height * _RATIOS[ratio][0] // _RATIOS[ratio][1], height
    return 8 * (bits.take(5) + 1) if is_small else bits.choose(_SIDE), height


def _extra_fields(bits: _Bits) -> tuple[int, bool]:
    """Return the orientation, and whether there is a timing; intrinsic size, preview and timing are passed over."""
    orientation = 1 + bits.take(3)
    if bits.take(1):
        _size(bits)
    if bits.take(1):
        sides = _PREVIEW_EIGHTHS if bits.take(1) else _PREVIEW_SIDE
        bits.choose(sides)
        if not bits.take(3):
            bits.choose(sides)
    if not bits.take(1):
        return orientation, False
    for choices in _ANIMATION:
        bits.choose(choices)
    bits.take(1)
    return orientation, True
