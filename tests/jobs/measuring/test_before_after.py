"""`rdo-bench before-after`: three panels of one part of a picture, the files of about equal size, in any format."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from codec.images.sheet import CAPTION, GAP
from jobs import bench


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_sheet_of_ones_own_picture(
    save_photo: Any, folder: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    save_photo("a.png", 64, 96)
    flags = ["--iters", "2", "--quality", "6", "--crop", "48x32+8+4", "--scale", "3", "-o", f"sheet.{suffix}"]
    assert bench.main(["before-after", "a.png", *flags]) == 0
    told = capsys.readouterr().out.splitlines()
    plain, refined = (int(line.split(", ")[1].split()[0].replace(",", "")) for line in told[1:3])
    assert told[0] == "original" and told[1].startswith("plain") and 0.9 * refined <= plain <= refined
    with Image.open(f"sheet.{suffix}") as sheet:
        assert sheet.size == (3 * (3 * 48 + GAP) - GAP, 3 * 32 + CAPTION)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--crop", "90x10+10+0"], "reaches beyond the picture, which has 96 x 64"),
        (["--scale", "0"], "--scale 0"),
        (["-o", "sheet"], "name a picture"),
        (["--crop", "10"], "WxH+X+Y"),
    ],
)
def test_bad_flags(
    save_photo: Any, folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], told: str
) -> None:
    save_photo("a.png", 64, 96)
    assert bench.main(["before-after", "a.png", *flags]) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["a.png"]
