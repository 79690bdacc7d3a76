"""Metadata of cameras' raw files.

    TIFF and its kin    (DNG, NEF, CR2, ARW, PEF, ORF, RW2) folders of camera and position, descriptive fields, XMP
    RAF                 EXIF and XMP of the JPEG inside, as the camera wrote them
    CR3                 boxes CMT1, CMT2 and CMT4, which are folders, and XMP (github.com/lclevy/canon_cr3)

What stands in folders is written anew, field by field, so that makers' notes keep their bytes but not their place.
"""

import io
import struct

from PIL import Image

from codec.images import isobmff
from codec.images.exif_building import CAMERA_FOLDER, POSITION_FOLDER, block_of, descriptive
from codec.images.metadata import NOTHING, Metadata, read_metadata

_RAF, _CR3 = b"FUJIFILMCCD-RAW", b"ftypcrx "
_RAF_JPEG = 84  # where offset and length of its JPEG stand
_CANON_BOX, _XMP_BOX = (
    bytes.fromhex(text) for text in ("85c0b687820f11e08111f4ce462b6a48", "be7acfcb97a942e89c71999491e3afac")
)
_MAGIC = {b"II": b"II*\0", b"MM": b"MM\0*"}
_XMP_TAG = 700


def metadata_of_raw(data: bytes) -> Metadata:
    """Return EXIF and XMP of a raw file; nothing of a damaged one, or of a kind that is not known."""
    try:
        if data.startswith(_RAF):
            return _of_raf(data)
        return _of_cr3(data) if data[4:12] == _CR3 else _of_tiff(data)
    except Exception:  # of damaged metadata, nearly any
        return NOTHING


def _of_raf(data: bytes) -> Metadata:
    begin, size = struct.unpack_from(">II", data, _RAF_JPEG)
    preview = data[begin : begin + size]
    with Image.open(io.BytesIO(preview), formats=["JPEG"]) as image:
        return read_metadata(image, preview)


def _of_cr3(data: bytes) -> Metadata:
    movie, blocks = isobmff.find(data, "moov"), dict[bytes, bytes]()
    if movie:
        found = _by_uuid(data, _CANON_BOX, movie.begin, movie.end)
        blocks = {box.kind: data[box.begin : box.end] for box in isobmff.boxes(data, *found)}
    main, camera, position = (dict(_loaded(blocks.get(kind, b""))) for kind in (b"CMT1", b"CMT2", b"CMT4"))
    begin, end = _by_uuid(data, _XMP_BOX, 0, len(data))
    return Metadata(block_of(descriptive(main), camera, position), data[begin:end].strip(b"\0"))


def _by_uuid(data: bytes, name: bytes, begin: int, end: int) -> tuple[int, int]:
    """Return where the contents of a box of type `uuid` begin and end; two zeros where there is none."""
    found = (box for box in isobmff.boxes(data, begin, end) if box.kind == b"uuid")
    return next(((b.begin + 16, b.end) for b in found if data[b.begin : b.begin + 16] == name), (0, 0))


def _of_tiff(data: bytes) -> Metadata:
    usual = _MAGIC.get(data[:2], b"")
    source = _loaded(data if data.startswith(usual) else usual + data[4:])  # ORF and RW2 have other magic numbers
    packet = source.get(_XMP_TAG, b"")
    folders = (dict(source.get_ifd(folder)) for folder in (CAMERA_FOLDER, POSITION_FOLDER))
    return Metadata(block_of(descriptive(source), *folders), packet if isinstance(packet, bytes) else b"")


def _loaded(block: bytes) -> Image.Exif:
    found = Image.Exif()
    found.load(block)
    return found
