"""`rdo-view`: a page with exact pixels of file and original, that loads nothing."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.coding import decode
from jobs.view import find_record, main


@pytest.fixture
def rdo_view(model: str, folder: Path) -> Any:
    """`rdo-view` with the tiny codec, which shows no page."""
    return lambda *argv: main(["--model", model, "--no-open", *map(str, argv)])


def pictures(page: Path) -> list[Any]:
    """Return the pictures inside a page, in their order."""
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', page.read_text(encoding="utf-8"))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each))).convert("RGB")) for each in found]


def test_the_original_is_found_by_its_record(save_photo, rdo_encode, rdo_view, codec, folder: Path, pixels_of) -> None:
    save_photo("in/sub/<a>.png", 70, 90)
    assert rdo_encode("--iters", 1, "in") == 0
    file = folder / "rdo-out/sub/<a>.png.rdo"
    assert rdo_view("-o", "page/a.html", file) == 0
    page = folder / "page/a.html"
    right, left = pictures(page)
    assert np.array_equal(left, pixels_of(folder / "in/sub/<a>.png"))
    assert np.array_equal(right, decode(codec, file.read_bytes()).pixels.data)
    text = page.read_text(encoding="utf-8")
    assert "<a>" not in text and "&lt;a&gt;.png.rdo" in text and re.search(r"PSNR \d+\.\d\d dB, SSIMULACRA 2", text)
    assert not re.search(r"https?://|@[A-Z_]+@", text.replace("http://www.w3.org", "")), "nothing is loaded or left"
    record = find_record(Path("rdo-out/sub/<a>.png.rdo"))
    assert record is not None and record.input == "in/sub/<a>.png"


def test_a_named_original_must_fit(save_photo, rdo_encode, rdo_view, folder: Path, capsys) -> None:
    save_photo("a.png")
    save_photo("b.png", 25, 40)
    assert rdo_encode("--iters", 0, "-o", "a.rdo", "a.png") == 0
    assert rdo_view("-o", "a.html", "--original", "a.png", "a.rdo") == 0 and len(pictures(folder / "a.html")) == 2
    assert rdo_view("-o", "b.html", "--original", "b.png", "a.rdo") == 2
    assert "b.png: 40 x 25 px, but the file holds 40 x 24: name its original" in capsys.readouterr().err
    assert rdo_view("-o", "c.html", "a.rdo") == 0, "without an original the file is shown alone"
    assert len(pictures(folder / "c.html")) == 1 and "name it with --original" in (folder / "c.html").read_text()


def test_damaged_files_are_named(rdo_view, rdo_bytes: bytes, folder: Path, capsys) -> None:
    (folder / "a.rdo").write_bytes(rdo_bytes[:-1])
    assert rdo_view("a.rdo") == 2 and "a.rdo: truncated" in capsys.readouterr().err
    assert rdo_view("missing.rdo") == 1 and "missing.rdo" in capsys.readouterr().err


def test_the_page_is_shown(rdo_bytes: bytes, folder: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda uri: shown.append(uri) or True)
    (folder / "a.rdo").write_bytes(rdo_bytes)
    assert main(["--model", model, "a.rdo"]) == 0
    assert len(shown) == 1 and shown[0].endswith("/a.rdo.html")
