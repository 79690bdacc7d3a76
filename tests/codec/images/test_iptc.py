"""IPTC's fields: what they alone say is kept as XMP, and makers and copyright notice are found in them."""

import struct
from typing import Any

import pytest
from PIL import Image

from codec.images import exif, iptc, xmp
from codec.images.read import read_picture
from tests.codec.images.conftest import RGB, save
from tests.codec.images.test_metadata import PACKET, fields_of, phone_exif

NAMED = "Ána Perßon"
FIELDS = {
    5: ["A title"], 25: ["sea", "boats & <more>"], 55: ["20240502"], 80: [NAMED, "B. Other"], 90: ["Berlin"],
    101: ["Germany"], 105: ["Headline"], 110: ["Agency"], 116: ["© Ána"], 120: ["First line\nsecond\x02"],
}  # fmt: skip


def field(record: int, number: int, value: bytes) -> bytes:
    size = struct.pack(">H", len(value)) if len(value) < 32_768 else struct.pack(">HI", 0x8004, len(value))
    return bytes([0x1C, record, number]) + size + value


def iptc_block(fields: Any = FIELDS, encoding: str = "utf-8", says_so: bool = True) -> bytes:
    head = field(1, 90, b"\x1b%G") if says_so and encoding == "utf-8" else b""
    values = ((number, value.encode(encoding)) for number, each in fields.items() for value in each)
    return head + field(2, 0, b"\0\4") + b"".join(field(2, number, value) for number, value in values)


def jpeg(block: bytes, **options: Any) -> bytes:
    """Return a JPEG file with a block in the resources of Photoshop, between two others."""
    own = [(0x03ED, bytes(16)), (0x0404, block), (0x0425, bytes(15))]
    parts = (b"8BIM" + struct.pack(">HHI", kind, 0, len(body)) + body + b"\0" * (len(body) % 2) for kind, body in own)
    body = b"Photoshop 3.0\0" + b"".join(parts)
    data = save(Image.fromarray(RGB), "JPEG", **options)
    return data[:2] + b"\xff\xed" + struct.pack(">H", 2 + len(body)) + body + data[2:]


def tiff_of(block: bytes, kind: int, order: str) -> bytes:
    """Return a TIFF file with a block, as bytes (7) or in numbers of four bytes (4), as Photoshop does."""
    count = len(block) if kind == 7 else -(-len(block) // 4)
    tags = [(256, 3, 1, 9), (257, 3, 1, 6), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 200),
            (277, 3, 1, 1), (278, 3, 1, 6), (279, 4, 1, 54), (33_723, kind, count, 260)]  # fmt: skip
    head = struct.pack(order + "2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    for tag, type_, length, value in tags:
        own = struct.pack(order + "H", value).ljust(4, b"\0") if type_ == 3 else struct.pack(order + "I", value)
        head += struct.pack(order + "HHI", tag, type_, length) + own
    data = (head + b"\0\0\0\0").ljust(200, b"\0") + RGB[..., 0].tobytes()
    return data.ljust(260, b"\0") + block + bytes(-len(block) % 4)


def values(packet: bytes, name: str) -> list[str]:
    """Return the values of a property, by an XML reader."""
    document = xmp._parse(packet)
    assert document is not None
    [node] = document.getElementsByTagNameNS("*", name)
    items = node.getElementsByTagName("rdf:li") or [node]
    return [item.firstChild.data for item in items]


@pytest.mark.parametrize(
    ("encoding", "says_so"), [("utf-8", True), ("utf-8", False), ("cp1252", False)], ids=["marked", "utf-8", "cp1252"]
)
def test_jpeg(encoding: str, says_so: bool) -> None:
    found = read_picture(jpeg(iptc_block(encoding=encoding, says_so=says_so)))
    packet = found.kept("keep").xmp
    right = {"title": ["A title"], "subject": ["sea", "boats & <more>"], "DateCreated": ["2024-05-02"],
             "creator": [NAMED, "B. Other"], "City": ["Berlin"], "Country": ["Germany"], "Headline": ["Headline"],
             "Credit": ["Agency"], "rights": ["© Ána"], "description": ["First line\nsecond"]}  # fmt: skip
    assert {name: values(packet, name) for name in right} == right
    public = found.kept("default").xmp
    assert b"Berlin" not in public and b"Germany" not in public and values(public, "Credit") == ["Agency"]
    rights = found.kept("copyright")
    assert rights.xmp == b"" and exif.text(rights.exif, exif.COPYRIGHT) == "© Ána"
    assert exif.text(rights.exif, exif.ARTIST) == f"{NAMED}; B. Other"
    assert not found.kept("drop")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [4, 7])
def test_tiff(kind: int, order: str) -> None:
    found = read_picture(tiff_of(iptc_block(), kind, order))
    assert values(found.metadata.xmp, "creator") == [NAMED, "B. Other"]
    assert exif.text(found.kept("copyright").exif, exif.COPYRIGHT) == "© Ána"


def test_what_xmp_says_itself_counts_and_stays_as_it_is() -> None:
    found = read_picture(jpeg(iptc_block(), xmp=PACKET)).metadata.xmp
    begin, end = found.index(b"<rdf:Description", 600), found.index(b"</rdf:RDF>")
    assert found[:begin] + found[end:] == PACKET, "an insertion and nothing else"
    assert (values(found, "creator"), values(found, "rights")) == (["A. Person"], ["(c) A. Person"])
    assert values(found, "Headline") == ["Headline"]
    assert found.count(b"photoshop:City") == 1, "which the packet has as an attribute"
    same = {80: ["another"], 116: ["another"]}
    assert read_picture(jpeg(iptc_block(same), xmp=PACKET)).metadata.xmp == PACKET


def test_exif_is_kept_beside_it() -> None:
    found = read_picture(jpeg(iptc_block(), exif=b"Exif\0\0" + phone_exif(3)))
    assert found.metadata.exif == phone_exif(3)
    assert fields_of(found.kept("copyright").exif)["main", exif.COPYRIGHT] == "(c) A. Person", "as EXIF says"


def test_long_values() -> None:
    assert iptc.properties(field(2, 120, b"x" * 40_000))[0].values == ("x" * 40_000,)


def test_damaged_blocks_give_less_and_cost_nothing_else() -> None:
    block = iptc_block()
    counts = [len(iptc.properties(block[:cut])) for cut in range(len(block) + 1)]
    assert counts == sorted(counts) and (counts[0], counts[-1]) == (0, len(FIELDS))
    for junk in (b"", b"junk", b"\x1c\2\x78\xff\xff", b"\x1c\2\x78\x80\4\xff\xff\xff\xff", b"\x1c" * 99):
        found = read_picture(jpeg(junk, exif=b"Exif\0\0" + phone_exif(0)))
        assert (found.metadata.xmp, found.metadata.exif, found.notes) == (b"", phone_exif(0), ())
    broken = b"<x:xmpmeta"
    assert xmp.with_properties(broken, iptc.properties(block)) == broken
