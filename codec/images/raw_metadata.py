"""Metadata of cameras' raw files.

    TIFF and its kin    (DNG, NEF, CR2, ARW, PEF, ORF, RW2) folders of camera and position, descriptive fields, XMP
    RAF                 EXIF and XMP of the JPEG inside, as the camera wrote them
    CR3                 boxes CMT1, CMT2 and CMT4, which are folders, and XMP (github.com/lclevy/canon_cr3)

What stands in folders is written anew, every field with its bytes, so that makers' notes lose their place in the file.
"""

import io
import struct

from PIL import Image

from codec.images import exif, isobmff
from codec.images.exif_building import DESCRIPTIVE, block_of, folders_of
from codec.images.metadata import NOTHING, Metadata, read_metadata

_RAF, _CR3 = b"FUJIFILMCCD-RAW", b"ftypcrx "
_RAF_JPEG = 84  # where offset and length of its JPEG stand
_CANON_BOX, _XMP_BOX = (
    bytes.fromhex(text) for text in ("85c0b687820f11e08111f4ce462b6a48", "be7acfcb97a942e89c71999491e3afac")
)
_MAGIC, _XMP_TAG = 42, 700  # of TIFF


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
    boxes = (("main", b"CMT1", DESCRIPTIVE), ("exif", b"CMT2", None), ("gps", b"CMT4", None))
    folders = {name: folders_of(blocks.get(kind, b""), tags).get("main", []) for name, kind, tags in boxes}
    orders = {exif.order_of(blocks[kind]) for _, kind, _ in boxes if kind in blocks} - {""}
    block = block_of(folders, *orders) if len(orders) == 1 else b""
    begin, end = _by_uuid(data, _XMP_BOX, 0, len(data))
    return Metadata(block, data[begin:end].strip(b"\0"))


def _by_uuid(data: bytes, name: bytes, begin: int, end: int) -> tuple[int, int]:
    """Return where the contents of a box of type `uuid` begin and end; two zeros where there is none."""
    found = (box for box in isobmff.boxes(data, begin, end) if box.kind == b"uuid")
    return next(((b.begin + 16, b.end) for b in found if data[b.begin : b.begin + 16] == name), (0, 0))


def _of_tiff(data: bytes) -> Metadata:
    order = exif.order_of(data)
    usual = struct.pack(order + "H", _MAGIC)
    tiff = data if data[2:4] == usual else data[:2] + usual + data[4:]  # ORF and RW2 have another number
    folders = folders_of(tiff, (*DESCRIPTIVE, _XMP_TAG))
    main = folders.get("main", [])
    packet = next((value.data for value in main if value.tag == _XMP_TAG), b"")
    return Metadata(block_of({**folders, "main": [v for v in main if v.tag != _XMP_TAG]}, order), packet)
