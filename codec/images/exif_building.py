"""EXIF blocks built from fields, where a file states them in another way than by a block of its own."""

from collections.abc import Mapping
from types import MappingProxyType

from PIL import Image

from codec.images import exif

DESCRIPTIVE = (  # of the main folder; fields of the samples are not among them
    0x010E, exif.MAKE, exif.MODEL, exif.X_RESOLUTION, exif.Y_RESOLUTION, exif.RESOLUTION_UNIT, 0x0131, exif.DATE,
    exif.ARTIST, exif.COPYRIGHT,
)  # fmt: skip
CAMERA_FOLDER, POSITION_FOLDER = 0x8769, 0x8825
_NONE: Mapping[int, object] = MappingProxyType({})


def block_of(
    fields: Mapping[int, object], camera: Mapping[int, object] = _NONE, position: Mapping[int, object] = _NONE
) -> bytes:
    """Return the block of those fields that are not empty, without the prefix "Exif"; empty without any.

    Args:
        fields: of the main folder, by tag, with Pillow's values.
        camera: of the folder of camera and exposure.
        position: of the folder of the position.
    """
    block = Image.Exif()
    for tag, value in fields.items():
        if value:
            block[tag] = value
    for folder, own in ((CAMERA_FOLDER, camera), (POSITION_FOLDER, position)):
        if own:
            block.get_ifd(folder).update(own)
    return block.tobytes().removeprefix(exif.PREFIX) if len(block) or camera or position else b""


def descriptive(fields: Mapping[int, object]) -> dict[int, object]:
    """Return those fields of a main folder that describe the picture, whatever its samples."""
    return {tag: fields[tag] for tag in DESCRIPTIVE if tag in fields}
