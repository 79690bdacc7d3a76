"""Chunks of PNG files: what they state, and the file that is left when all but its samples is taken out.

The invariant: `samples_alone` never changes a sample, so that damaged metadata costs no picture.
"""

import zlib
from collections.abc import Container
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # ancillary chunks that decide samples and frames
_COLOUR = (b"cICP", b"iCCP", b"sRGB", b"cHRM", b"gAMA")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_INFLATED_MAX = 1 << 24  # bytes of a text or a profile
_END = b"\0\0\0\0IEND\xaeB`\x82"


class Chunk(NamedTuple):
    """Chunk of a file: its type, where it begins and ends, and whether its checksum fits (not tried for samples)."""

    kind: bytes
    begin: int
    end: int
    intact: bool

    def body(self, data: bytes) -> bytes:
        """Return the chunk's contents, given the file's bytes."""
        return data[self.begin + 8 : self.end - 4]

    @property
    def is_critical(self) -> bool:
        """Necessity of the chunk: decoders that do not know a critical one must give up."""
        return not self.kind[0] & 32


def read_chunks(data: bytes) -> list[Chunk]:
    """Return the whole chunks of a PNG file, up to its end or to where it is cut off; none of another file."""
    found: list[Chunk] = []
    at = len(SIGNATURE) if data.startswith(SIGNATURE) else len(data)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            break
        is_samples = kind in (b"IDAT", b"fdAT")
        intact = is_samples or zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])
        found.append(Chunk(kind, at, end, intact))
        at = end
        if kind == b"IEND":
            break
    return found


def samples_alone(data: bytes) -> tuple[bytes, list[str]]:
    """Return a PNG file with those chunks alone that decide samples and frames, and notes on what was damaged.

    A missing end chunk is added where nothing else is missing.
    """
    chunks, notes = read_chunks(data), list[str]()
    if not chunks:
        return data, notes
    rest = data[chunks[-1].end :]
    kept = [chunk for chunk in chunks if chunk.is_critical or (chunk.kind in _KEPT and chunk.intact)]
    for chunk in chunks:
        if not chunk.is_critical and not chunk.intact:
            notes.append(f"damaged chunk {chunk.kind.decode('latin-1')} (checksum mismatch) is passed over")
    if chunks[-1].kind == b"IEND":
        rest = b""
    elif len(rest) < 12 and any(chunk.kind == b"IDAT" for chunk in chunks):
        notes.append(f"{12 - len(rest)} bytes are missing at the end of the file; the picture is whole")
        rest = _END
    if len(kept) == len(chunks) and rest == data[chunks[-1].end :]:
        return data, notes
    return SIGNATURE + b"".join(data[chunk.begin : chunk.end] for chunk in kept) + rest, notes


def colour_chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the contents of the chunks that state colours, by type: of each the first, if intact.

    A profile's chunk is given even if its checksum is wrong, as it is checked where it is used.
    """
    found: dict[bytes, bytes] = {}
    for chunk in read_chunks(data):
        if chunk.kind in _COLOUR and (chunk.intact or chunk.kind == b"iCCP"):
            found.setdefault(chunk.kind, chunk.body(data))
    return found


def inflate(packed: bytes) -> bytes:
    """Return the contents of a zlib stream; of a damaged or huge one what comes before the fault or the limit."""
    stream, plain = zlib.decompressobj(), b""
    try:
        for at in range(0, len(packed), 1 << 12):  # in parts, so that a fault loses no more than one
            plain += stream.decompress(packed[at : at + (1 << 12)], _INFLATED_MAX - len(plain))
            if len(plain) >= _INFLATED_MAX:
                break
    except zlib.error:
        pass
    return plain


def profile_of(chunk: bytes) -> bytes:
    """Return the ICC profile in the contents of an iCCP chunk: a name, a zero, the method, a zlib stream.

    It is empty where nothing can be unpacked.
    """
    return inflate(chunk[chunk.find(b"\0") + 2 :])


def texts(data: bytes, keywords: Container[str]) -> dict[str, str]:
    """Return the texts of a PNG file under some keywords, the first of each; what is damaged is left out."""
    found: dict[str, str] = {}
    for chunk in read_chunks(data):
        if chunk.kind in _TEXT and chunk.intact:
            name, _, rest = chunk.body(data).partition(b"\0")
            keyword = name.decode("latin-1")
            if keyword in keywords and keyword not in found and (text := _text(chunk.kind, rest)):
                found[keyword] = text
    return found


def _text(kind: bytes, rest: bytes) -> str:
    """Return the text that follows the keyword of a text chunk."""
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        return inflate(rest[1:]).decode("latin-1")
    compressed, fields = rest[:1] == b"\1", rest[2:].split(b"\0", 2)  # language, translated keyword, text
    if len(fields) < 3:
        return ""
    return (inflate(fields[2]) if compressed else fields[2]).decode("utf-8", "replace")
