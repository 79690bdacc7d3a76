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


CORPORA: tuple[Callable[[bytes], Corpus], ...] = (truncations, flips, forgeries, headers)


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
    least = {"truncations": 700, "flips": 0.99 * FLIPS, "forgeries": FORGERIES, "headers": 60}[corpus]
    assert int(found["refused"]) >= least
    assert all(3 < len(text) < 400 and "\n" not in text for text in found["texts"])


def main() -> None:
    """Read every altered file, and print what came of it."""
    from codec.coding import decode
    from codec.loading import load

    model = load(GOLDEN / "tiny.safetensors")
    for name in FILES:
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
    for name in FILES:
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
            slowest = max(slowest, time.process_time() - begin)
    return {"refused": refused, "accepted": accepted, "errors": errors, "slowest": slowest, "texts": sorted(texts)}


if __name__ == "__main__":
    main()
