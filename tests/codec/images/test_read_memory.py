"""Memory of reading: besides Pillow's own picture there is one copy of the samples, whatever is done to them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec.images.orientation import empty_for, upright
from tests.codec.images.conftest import RGB, chunk, png, save
from tests.codec.images.test_colour import swapped_icc

SIDES = 3000, 2000
SAMPLES_BYTES = 3 * SIDES[0] * SIDES[1]
PILLOW, OURS, BANDS = 4 / 3, 1, 1.1  # of its samples: the picture in Pillow, ours, and all that bands take (20 MB)
PROBE = """
import sys
from pathlib import Path
from codec.images.read import ImagePolicy, read_image

def bytes_of(key):
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))

read_image(Path(sys.argv[2]), ImagePolicy(depth=8, alpha="blend"))  # libraries
before = bytes_of("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
read_image(Path(sys.argv[1]), ImagePolicy(depth=8, alpha="blend"))
print(bytes_of("VmHWM") - before)
"""


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def picture() -> Image.Image:
    return Image.fromarray(RGB).resize(SIDES)


def deep_png(size: tuple[int, int] = SIDES) -> bytes:
    samples = np.zeros((size[1], size[0], 3), np.uint16)
    samples[..., 1] = np.arange(size[0])
    return png(samples, 2, 16)


FILES = {
    "plain": lambda one: save(one, "JPEG"),
    "turned": lambda one: save(one, "JPEG", exif=turned(6)),
    "profile": lambda one: save(one, "JPEG", icc_profile=swapped_icc(), exif=turned(3)),
    "linear": lambda one: (
        (data := save(one, compress_level=1))[:33] + chunk(b"gAMA", (100_000).to_bytes(4)) + data[33:]
    ),
    "alpha": lambda one: save(one.convert("RGBA"), compress_level=1),
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is known on Linux only")
@pytest.mark.parametrize("name", [*FILES, "deep"])
def test_reading_takes_one_copy_of_the_samples(name: str, tmp_path: Path) -> None:
    small = picture().resize((64, 64))
    for path, one in (("large", picture()), ("small", small)):
        (tmp_path / path).write_bytes(deep_png(one.size) if name == "deep" else FILES[name](one))
    probe = [sys.executable, "-c", PROBE, str(tmp_path / "large"), str(tmp_path / "small")]
    done = subprocess.run(probe, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    extra = {"alpha": 1 / 3, "deep": 2}.get(name, 0)  # alpha; 16 bits of each sample, while Pillow has its own
    size = int(done.stdout) - (tmp_path / "large").stat().st_size  # the file is held as well
    assert size < (PILLOW + OURS + BANDS + extra) * SAMPLES_BYTES


@pytest.mark.parametrize("orientation", range(1, 9))
def test_samples_that_are_to_be_turned_are_laid_out_for_it(orientation: int) -> None:
    wanted = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    samples = empty_for(2, 3, orientation)
    samples[:] = wanted
    assert np.shares_memory(upright(samples, orientation), samples)
    assert np.array_equal(upright(samples, orientation), upright(wanted, orientation))
