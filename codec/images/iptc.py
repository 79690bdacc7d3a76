"""IPTC fields (IIM 4.2) as XMP properties, by the mapping of the Metadata Working Group's guidelines, version 2.0.

News agencies and older programs write captions, names and copyright notices there alone. Files that have both say the
same in both, so that of IPTC only what XMP lacks is of use.
"""

from collections import defaultdict
from collections.abc import Iterator

from codec.images.exif import decoded
from codec.images.xmp import CORE, DC, PHOTOSHOP, Property

PHOTOSHOP_RESOURCE, TIFF_TAG = 0x0404, 33_723  # where a block stands in JPEG's APP13, and in TIFF
_MARK, _LONG, _ENVELOPE, _APPLICATION = 0x1C, 0x8000, 1, 2
_CHARACTER_SET, _UTF_8, _DATE = 90, b"\x1b%G", 55
_PROPERTIES = {
    5: (DC, "title", "Alt"), 25: (DC, "subject", "Bag"), 40: (PHOTOSHOP, "Instructions", ""),
    55: (PHOTOSHOP, "DateCreated", ""), 80: (DC, "creator", "Seq"), 85: (PHOTOSHOP, "AuthorsPosition", ""),
    90: (PHOTOSHOP, "City", ""), 92: (CORE, "Location", ""), 95: (PHOTOSHOP, "State", ""),
    100: (CORE, "CountryCode", ""), 101: (PHOTOSHOP, "Country", ""), 103: (PHOTOSHOP, "TransmissionReference", ""),
    105: (PHOTOSHOP, "Headline", ""), 110: (PHOTOSHOP, "Credit", ""), 115: (PHOTOSHOP, "Source", ""),
    116: (DC, "rights", "Alt"), 120: (DC, "description", "Alt"), 122: (PHOTOSHOP, "CaptionWriter", ""),
}  # fmt: skip  # by the number of the field in record 2


def properties(block: bytes) -> list[Property]:
    """Return what an IPTC block says of its picture as XMP properties; of a damaged one, what stands before the damage.

    Text is UTF-8 where the block says so or its bytes are, else that of Windows 1252.
    """
    found, is_utf_8 = defaultdict[int, list[bytes]](list), False
    for record, number, value in _fields(block):
        is_utf_8 |= (record, number, value) == (_ENVELOPE, _CHARACTER_SET, _UTF_8)
        if record == _APPLICATION and number in _PROPERTIES and value.strip(b"\0 "):
            found[number].append(value)
    return [
        Property(*_PROPERTIES[number], tuple(_text(number, value, is_utf_8) for value in values))
        for number, values in found.items()
    ]


def _fields(block: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (record, number, value) of the fields of a block, as far as they are whole."""
    at = 0
    while at + 5 <= len(block) and block[at] == _MARK:
        record, number, size = block[at + 1], block[at + 2], int.from_bytes(block[at + 3 : at + 5])
        at += 5
        if size >= _LONG:  # then it is the length of the length
            at, size = at + size - _LONG, int.from_bytes(block[at : at + size - _LONG])
        if at + size > len(block):
            return
        yield record, number, block[at : at + size]
        at += size


def _text(number: int, value: bytes, is_utf_8: bool) -> str:
    text = value.decode("utf-8", "replace") if is_utf_8 else decoded(value)
    if number == _DATE and len(text) == 8 and text.isdecimal():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text.strip("\0 ")
