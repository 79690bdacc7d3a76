"""XMP packets: what a copy of a picture may keep of them.

The invariant: without the location, a packet that cannot be read as XML is left out, since it could hold one.
"""

import re
from typing import NamedTuple
from xml.dom import minidom
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

_LOCATION = re.compile(
    r"(GPS.*|City|State|Country|CountryCode|CountryName|ProvinceState|Sublocation|Location|LocationName"
    r"|LocationCreated|LocationShown|WorldRegion|LocationId|Latitude|Longitude|Place|Region|geotag)",
    re.IGNORECASE,
)
_FILE = re.compile(r"(Thumbnails|Directory|MotionPhoto.*|MicroVideo.*|HasExtendedXMP)")
_FILE_SPACES = ("http://ns.adobe.com/hdr-gain-map/", "http://ns.google.com/photos/1.0/container")
_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))([2-8])")
_PADDING = re.compile(rb"\s+(?=<\?xpacket end)")
DC, PHOTOSHOP = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/photoshop/1.0/"
CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_PREFIXES = {DC: "dc", PHOTOSHOP: "photoshop", CORE: "Iptc4xmpCore"}
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_RDF_END, _NO_XML = "</rdf:RDF>", re.compile("[^\\t\\n\\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_EMPTY_PACKET = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">{_RDF_END}</x:xmpmeta>'.encode()
PACKET_BYTES_MAX = 1 << 22


class Property(NamedTuple):
    """Property to state in a packet.

    Attributes:
        space: name space, `DC`, `PHOTOSHOP` or `CORE`.
        kind: list that the values are in: `Seq`, `Bag`, `Alt` (of languages), or empty for a plain one.
    """

    space: str
    name: str
    kind: str
    values: tuple[str, ...]


def upright(packet: bytes) -> bytes:
    """Return a packet that says that the picture stands upright, and is as it was otherwise."""
    return _ORIENTATION.sub(rb"\g<1>1", packet)


def without_location(packet: bytes) -> bytes:
    """Return a packet without places, and without what describes other parts of the file: thumbnails, gain maps, films.

    Returns:
        Empty, if it is no XML in UTF-8, or nothing is left.
    """
    document = _parse(packet)
    if document is None:
        return b""
    for node in document.getElementsByTagName("*"):
        _strip(node)
    if not any(_has_properties(node) for node in document.getElementsByTagNameNS("*", "Description")):
        return b""
    return upright(document.toxml(encoding="utf-8").partition(b"?>")[2].strip())


def rights(packet: bytes) -> tuple[str, str]:
    """Return the names of the makers, and the copyright notice, of a packet (dc:creator, dc:rights)."""
    document = _parse(packet)
    if document is None:
        return "", ""
    found = []
    for name in ("creator", "rights"):
        items = [item for node in document.getElementsByTagNameNS(DC, name) for item in node.getElementsByTagName("*")]
        leaves = ["".join(n.data for n in item.childNodes if n.nodeType == n.TEXT_NODE).strip() for item in items]
        found.append("; ".join(leaf for leaf in leaves if leaf))
    return found[0], found[1]


def with_properties(packet: bytes, stated: list[Property]) -> bytes:
    """Return a packet to which those properties are added that it does not state itself; nothing else of it changes.

    A packet that cannot be read stays as it is, and without one a new one is made.
    """
    before, end = packet or _EMPTY_PACKET, _RDF_END.encode()
    document = _parse(before) if stated else None
    missing = [each for each in stated if not _states(document, each)] if document else []
    if not missing or before.count(end) != 1:
        return packet
    spaces = "".join(f' xmlns:{_PREFIXES[space]}="{space}"' for space in dict.fromkeys(each.space for each in missing))
    body = "".join(_element(each) for each in missing)
    added = f'<rdf:Description rdf:about=""{spaces}>{body}</rdf:Description>'
    return before.replace(end, added.encode() + end)


def _states(document: minidom.Document, stated: Property) -> bool:
    """Return whether a packet has a property, as an element or as an attribute."""
    descriptions = document.getElementsByTagNameNS(_RDF, "Description")
    return bool(document.getElementsByTagNameNS(stated.space, stated.name)) or any(
        description.hasAttributeNS(stated.space, stated.name) for description in descriptions
    )


def _element(stated: Property) -> str:
    """Return the element of a property."""
    values = [escape(_NO_XML.sub("", value)) for value in stated.values]
    inside = values[0]
    if stated.kind:
        language = ' xml:lang="x-default"' if stated.kind == "Alt" else ""
        items = values[:1] if language else values
        inside = "".join(f"<rdf:li{language}>{value}</rdf:li>" for value in items)
        inside = f"<rdf:{stated.kind}>{inside}</rdf:{stated.kind}>"
    name = f"{_PREFIXES[stated.space]}:{stated.name}"
    return f"<{name}>{inside}</{name}>"


def _parse(packet: bytes) -> minidom.Document | None:
    """Return a packet's document; None where it is no XML, too long, or declares entities, which may be bombs."""
    if len(packet) > PACKET_BYTES_MAX:
        return None
    try:
        packet.decode("utf-8")
        if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
            return None
        return minidom.parseString(_PADDING.sub(b"", packet.strip(b"\0")))
    except (UnicodeDecodeError, ExpatError, ValueError, RecursionError):
        return None


def _strip(node: minidom.Element) -> None:
    """Take properties out of an element, attributes and elements alike."""
    for attribute in list(node.attributes.values()):
        if _is_dropped(attribute.localName or attribute.name, attribute.namespaceURI):
            node.removeAttributeNode(attribute)
    for child in list(node.childNodes):
        if child.nodeType == child.ELEMENT_NODE and _is_dropped(child.localName, child.namespaceURI):
            node.removeChild(child)


def _has_properties(description: minidom.Element) -> bool:
    """Return whether a description says anything: `about` and declarations of name spaces do not count."""
    own = [a for a in description.attributes.values() if a.prefix != "xmlns" and a.localName not in ("about", "xmlns")]
    return bool(own) or any(child.nodeType == child.ELEMENT_NODE for child in description.childNodes)


def _is_dropped(name: str, space: str | None) -> bool:
    local = name.rpartition(":")[2]
    if space == "http://www.w3.org/2000/xmlns/":
        return False
    return bool(_LOCATION.fullmatch(local) or _FILE.fullmatch(local)) or (space or "").startswith(_FILE_SPACES)
