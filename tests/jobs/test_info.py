"""`rdo-info`: the header, and bits that sum up to the file."""

import json
from pathlib import Path

import pytest

from codec import encoding
from codec.bitstream.boxes import Box
from codec.bitstream.container import HEADER_BYTES
from codec.coding import encode
from codec.identity import model_id
from codec.images.pixels import Pixels
from jobs.cli import printable
from jobs.info import main


@pytest.fixture
def file(folder: Path, rdo_bytes: bytes) -> Path:
    path = folder / "a.rdo"
    path.write_bytes(rdo_bytes)
    return path


def test_json_tells_the_header_and_where_the_bits_went(file: Path, model, codec, rdo_bytes, capsys) -> None:
    assert main(["--model", model, "--json", "a.rdo"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["file"], found["bytes"]) == ("a.rdo", len(rdo_bytes))
    assert (found["width"], found["height"], found["quality"], found["grey"]) == (40, 24, 5.0, False)
    assert found["bpp"] == pytest.approx(8 * len(rdo_bytes) / (40 * 24))
    assert (found["model"], found["model_id"]) == ("tiny", model_id(codec).hex())
    assert found["header_bytes"] == HEADER_BYTES
    parts = [found["y_bytes_est"], found["z_bytes_est"], found["overhead_bytes"]]
    assert sum(parts) == pytest.approx(found["bytes"]) and parts[0] > 0 and parts[1] > 0
    assert HEADER_BYTES - 1 < parts[2] < HEADER_BYTES + 24  # the estimates are close to what was written


def test_text_tells_the_same(file: Path, model, rdo_bytes, capsys) -> None:
    assert main(["--model", model, "a.rdo"]) == 0
    text = capsys.readouterr().out
    for part in ("a.rdo", "40 x 24", f"{len(rdo_bytes)} (", "quality   5", "tiny (", "overhead"):
        assert part in text


def test_another_models_file_has_no_split(file: Path, other_model, codec, capsys) -> None:
    assert main(["--model", other_model, "--json", "a.rdo"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] is found["y_bytes_est"] is found["z_bytes_est"] is found["overhead_bytes"] is None
    assert found["model_id"] == model_id(codec).hex() and found["width"] == 40
    assert main(["--model", other_model, "a.rdo"]) == 0
    text = capsys.readouterr().out
    assert "--model" in text and "40 x 24" in text and "overhead" not in text


def test_grey_is_told(folder: Path, codec, model, photo, capsys) -> None:
    (folder / "a.rdo").write_bytes(encode(codec, Pixels(photo(8, 8), grey=True)))
    assert main(["--model", model, "a.rdo"]) == 0 and "grey" in capsys.readouterr().out


def test_one_bad_file_stops_no_other(file: Path, folder: Path, model, rdo_bytes, capsys) -> None:
    (folder / "cut.rdo").write_bytes(rdo_bytes[:-1])
    (folder / "text.rdo").write_text("text")
    assert main(["--model", model, "--json", "cut.rdo", "missing.rdo", "text.rdo", "a.rdo"]) == 1
    out, told = capsys.readouterr()
    assert [json.loads(line)["file"] for line in out.splitlines()] == ["a.rdo"]
    for start in ("cut.rdo: truncated", "missing.rdo: No such file", "text.rdo: not an .rdo file"):
        assert start in told


def test_standard_input(folder: Path, model, rdo_bytes, stdin, capsys) -> None:
    stdin(rdo_bytes)
    assert main(["--model", model, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == len(rdo_bytes)


def test_unknown_model_is_status_2(file: Path, capsys) -> None:
    assert main(["--model", "nonesuch", "a.rdo"]) == 2
    assert "nonesuch: no such model" in capsys.readouterr().err


def test_folders_are_walked_as_rdo_decode_walks_them(file: Path, folder: Path, model, capsys) -> None:
    assert main(["--model", model, "--json", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == file.stat().st_size


def test_names_hold_no_orders_for_the_terminal(folder: Path, model, rdo_bytes, capsys) -> None:
    Path("a\x1b[31m.rdo").write_bytes(rdo_bytes)
    assert main(["--model", model, "."]) == 0
    shown = capsys.readouterr().out
    assert "a\\x1b[31m.rdo" in shown and "\x1b" not in shown
    assert printable("b\udcff.rdo\n") == "b\\udcff.rdo\\n"


def test_tiles_and_boxes_are_listed(folder: Path, codec, model, photo, capsys) -> None:
    boxes = (Box(b"EXIF", b"abc"), Box(b"EXIF", b"d"), Box(b"XMP ", b""))
    data = encode(codec, Pixels(photo(70, 200), grey=False), 5, tile=128, boxes=boxes)
    (folder / "a.rdo").write_bytes(data)
    assert main(["--model", model, "--json", "a.rdo"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tile"] == 128 and found["boxes"] == {"EXIF": 4, "XMP ": 0} and found["exact_bytes"] == 0
    assert [tile[:4] for tile in found["tiles"]] == [[0, 0, 128, 70], [128, 0, 72, 70]]
    streams = sum(tile[4] for tile in found["tiles"])
    assert found["header_bytes"] + streams + 3 * 12 + 4 == len(data)
    parts = [found["y_bytes_est"], found["z_bytes_est"], found["overhead_bytes"]]
    assert found["metadata_bytes"] == 3 * 12 + 4  # boxes of metadata, their headers included
    assert sum(parts) + 40 == pytest.approx(len(data)) and 45 < parts[2] < 45 + 60
    assert main(["--model", model, "a.rdo"]) == 0
    text = capsys.readouterr().out
    assert "tiles     2, of 128 px" in text and "    72x70+128+0  " in text and "box       EXIF, 4 bytes" in text


def test_exact_blocks_are_told_apart_from_overhead(folder: Path, model, codec, photo, capsys) -> None:
    data = encoding.encode(codec, Pixels(photo(70, 200), grey=False), exact="all")
    (folder / "a.rdo").write_bytes(data)
    assert main(["--model", model, "--json", "a.rdo"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["exact_blocks"], found["y_bytes_est"], found["z_bytes_est"]) == (8, 0.0, 0.0)
    assert found["bytes"] - 64 <= found["exact_bytes"] < found["bytes"] == found["overhead_bytes"] == len(data)
    assert main(["--model", model, "a.rdo"]) == 0
    text = capsys.readouterr().out
    overhead = len(data) - found["exact_bytes"]
    assert f"overhead  {overhead} bytes" in text and f"exact     {found['exact_bytes']} bytes" in text
    assert "8 of 8 blocks" in text
