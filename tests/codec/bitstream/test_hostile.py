"""Bytes made to do harm: the reader refuses them all, in little time and memory.

The files of `golden/` altered in every way we could think of. One process reads them under a limit on its memory and
its time, so that a crash, a hang or a hunger for memory fails the test.
"""

import json
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"
FILES = ("photo.rdo", "grey.rdo", "pixel.rdo", "symbols.rdo")
TILES = "tiles.rdo"  # of version 5, 6 tiles
MEMORY_MORE_BYTES = 512 << 20  # above what the program takes to start
SECONDS_EACH = 10  # of the processor
FLIPS, FORGERIES = 10_000, 400

Corpus = Iterator[tuple[str, bytes]]


def sealed(data: bytes) -> bytes:
    """The checksum made to fit."""
    return data[:20] + zlib.crc32(data[24:], zlib.crc32(data[:20])).to_bytes(4, "little") + data[24:]


def truncations(file: bytes) -> Corpus:
    for length in range(len(file)):
        yield f"cut to {length} bytes", file[:length]


def flips(file: bytes) -> Corpus:
    rng = np.random.default_rng(len(file))
    for _ in range(FLIPS // len(FILES)):
        altered = bytearray(file)
        for at in rng.integers(0, 8 * len(file), rng.integers(1, 9)):
            altered[at // 8] ^= 1 << at % 8
        if bytes(altered) != file:
            yield "bits flipped", bytes(altered)


def forgeries(file: bytes) -> Corpus:
    """Streams of noise, and single flips, under a checksum that fits."""
    rng = np.random.default_rng(len(file))
    for i in range(FORGERIES // len(FILES)):
        altered = bytearray(file)
        if i % 2:
            altered[24:] = rng.bytes(len(file) - 24)
        else:
            altered[int(rng.integers(24, len(file) - 8))] ^= 1 << int(rng.integers(8))
        yield "stream forged", sealed(bytes(altered))


def headers(file: bytes) -> Corpus:
    """Other lengths, sizes, versions and models, each under a checksum that fits."""
    for words in (0, 1, 2**16, 2**24 - 1):
        yield f"{words} words", sealed(file[:14] + words.to_bytes(3, "little") + file[17:])
        yield f"cut to {words} words", sealed(file[:14] + words.to_bytes(3, "little") + file[17 : 24 + 4 * words])
    for width, height in ((65536, 65536), (65536, 1), (1, 65536), (65536, 1525), (10000, 10000), (2000, 2000)):
        sides = (width - 1).to_bytes(2, "little") + (height - 1).to_bytes(2, "little")
        yield f"{width}x{height}", sealed(file[:8] + sides + file[12:])
    for version in (0, 2, 4, 15):
        yield f"version {version}", sealed(file[:3] + bytes([version << 4 | file[3] & 15]) + file[4:])
    yield "another model", sealed(file[:4] + bytes(b ^ 0xFF for b in file[4:8]) + file[8:])
    yield "other symbols", sealed(file[:17] + bytes(b ^ 0xFF for b in file[17:20]) + file[20:])


def sealed_tiles(data: bytes, tiles: int = 6, streams: bool = True) -> bytes:
    """All checksums of version 5 made to fit, those of the streams too as far as there are any."""
    file, at = bytearray(data), 27 + 9 * tiles
    for entry in range(27, at if streams else 27, 9):
        length = 4 * int.from_bytes(file[entry : entry + 3], "little")
        file[entry + 6 : entry + 9] = zlib.crc32(file[at : at + length]).to_bytes(4, "little")[:3]
        at += length
    file[23:27] = zlib.crc32(file[27 : 27 + 9 * tiles], zlib.crc32(file[:23])).to_bytes(4, "little")
    return bytes(file)


def tile_forgeries(file: bytes) -> Corpus:
    """Streams of noise, and single flips, in one tile, under checksums that fit."""
    rng = np.random.default_rng(5)
    words = [int.from_bytes(file[at : at + 3], "little") for at in range(27, 27 + 54, 9)]
    for i in range(FORGERIES):
        tile, altered = i % 6, bytearray(file)
        begin = 27 + 54 + 4 * sum(words[:tile])
        end = begin + 4 * words[tile]
        if i % 4 == 0:
            altered[begin:end] = rng.bytes(end - begin)
        else:
            altered[int(rng.integers(begin, end - 8))] ^= 1 << int(rng.integers(8))
        yield "stream forged", sealed_tiles(bytes(altered))


def tile_headers(file: bytes) -> Corpus:
    """Other sizes, tiles, lengths and indexes of version 5, each under a checksum that fits."""
    sizes = [(150, 200), (65536, 65536), (65536, 1), (1, 1), (2000, 2000), (100, 100)]
    for width, height in sizes:
        sides = (width - 1).to_bytes(2, "little") + (height - 1).to_bytes(2, "little")
        for tile in (0, 1, 2, 16, 255):
            forged = file[:8] + sides + file[12:14] + bytes([tile]) + file[15:]
            if forged != file:
                yield f"{width}x{height} in tiles of {64 * tile}", sealed_tiles(forged, streams=False)
                yield "and a long index", sealed_tiles(forged + bytes(10**6), 10**5, streams=False)
    for at in (15, 19):
        for length in (1, 4, 2**31, 2**32 - 1):
            yield f"{length} bytes at {at}", sealed_tiles(file[:at] + length.to_bytes(4, "little") + file[at + 4 :])
    for at in range(27, 27 + 54, 9):
        for words in (0, 1, 2**16, 2**24 - 1):
            forged = file[:at] + words.to_bytes(3, "little") + file[at + 3 :]
            yield f"index with {words} words", sealed_tiles(forged, streams=False)
            yield f"index with {words} words, checksums fit", sealed_tiles(forged)
        yield (
            "other symbols",
            sealed_tiles(file[: at + 3] + bytes(b ^ 255 for b in file[at + 3 : at + 6]) + file[at + 6 :]),
        )
    order = file[27:36], file[36:45]
    yield "index in another order", sealed_tiles(file[:27] + order[1] + order[0] + file[45:])
    for version in (3, 4):
        yield f"version {version}", sealed(file[:3] + bytes([version << 4 | file[3] & 15]) + file[4:])


OF_TILES = (tile_forgeries, tile_headers)
CORPORA: tuple[Callable[[bytes], Corpus], ...] = (truncations, flips, forgeries, headers, *OF_TILES)


@pytest.fixture(scope="module")
def report() -> dict[str, dict[str, object]]:
    command = [sys.executable, "-W", "ignore", __file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"the reader died: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("corpus", [c.__name__ for c in CORPORA])
def test_every_altered_file_is_refused(report: dict[str, dict[str, object]], corpus: str) -> None:
    found = report[corpus]
    assert found["accepted"] == [] and found["errors"] == []
    assert float(found["slowest"]) < SECONDS_EACH
    least = {
        "truncations": 1800, "flips": 0.99 * FLIPS, "forgeries": FORGERIES, "headers": 60, "tile_forgeries": FORGERIES,
        "tile_headers": 120,
    }[corpus]  # fmt: skip
    assert int(found["refused"]) >= least
    assert all(3 < len(text) < 400 and "\n" not in text for text in found["texts"])


def main() -> None:
    """Read every altered file, and print what came of it."""
    from codec.coding import decode
    from codec.loading import load

    model = load(GOLDEN / "tiny.safetensors")
    for name in (*FILES, TILES):
        decode(model, (GOLDEN / name).read_bytes())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_MORE_BYTES, used + MEMORY_MORE_BYTES))
    print(json.dumps({corpus.__name__: attack(model, corpus) for corpus in CORPORA}))


def attack(model: "Codec", corpus: Callable[[bytes], Corpus]) -> dict[str, object]:  # type: ignore[name-defined]  # noqa: F821
    """Counts and texts of one corpus."""
    from codec.coding import decode, read
    from codec.errors import BitstreamError

    refused, slowest = 0, 0.0
    texts, accepted, errors = set(), [], []
    names = (TILES,) if corpus in OF_TILES else FILES if corpus in (forgeries, headers) else (*FILES, TILES)
    for name in names:
        file = (GOLDEN / name).read_bytes()
        expected = decode(model, file).latents
        for what, data in corpus(file):
            begin = time.process_time()
            try:
                _, latents = read(model, data)
            except BitstreamError as error:
                refused += 1
                texts.add(str(error).split("(")[0])
            except BaseException as error:
                errors.append(f"{name}, {what}: {type(error).__name__}: {error}")
            else:
                same = all(a.shape == b.shape and bool((a == b).all()) for a, b in zip(latents, expected, strict=True))
                refused += same  # a bit that no symbol hangs on: the same symbols are no harm
                if not same:
                    accepted.append(f"{name}, {what}")
            if name == TILES and not isinstance(salvaged(model, data), BitstreamError | None):
                errors.append(f"{name}, {what}, salvaged: {salvaged(model, data)!r}")
            slowest = max(slowest, time.process_time() - begin)
    return {"refused": refused, "accepted": accepted, "errors": errors, "slowest": slowest, "texts": sorted(texts)}


def salvaged(model: "Codec", data: bytes) -> BaseException | None:  # type: ignore[name-defined]  # noqa: F821
    """What salvage raises."""
    from codec.coding import decode

    try:
        decode(model, data, salvage=True)
    except BaseException as error:
        return error
    return None


if __name__ == "__main__":
    main()
