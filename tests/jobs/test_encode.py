"""`rdo-encode`: folders to verified files, standard streams, what is printed."""

import io
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import rdo.encoding
from codec.architecture import lmbda_of
from codec.coding import decode, encode
from codec.identity import model_id
from codec.images.read import read_image
from jobs.encode import main


def leftovers(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.endswith(".part")]


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*.rdo")}


def statuses(text: str) -> list[str]:
    return [json.loads(line)["status"] for line in text.splitlines()]


def check_score(found: dict[str, Any], size: int, original: Any, decoded: Any, lmbda: float) -> None:
    mse = ((original - decoded) ** 2).mean()
    assert found["bytes"] == size
    assert found["bpp"] == pytest.approx(8 * size / (original.shape[0] * original.shape[1]))
    assert found["psnr_db"] == pytest.approx(10 * math.log10(255**2 / mse))
    assert found["cost"] == pytest.approx(found["bpp"] + lmbda * mse)


@pytest.mark.usefixtures("one_start")
def test_a_folder_becomes_files_that_their_records_describe(
    save_photo, rdo_encode, rdo_decode, codec, records, pixels_of, folder: Path, capsys
) -> None:
    sources = {"a.png": save_photo("photos/a.png"), "sub/b.jpg": save_photo("photos/sub/b.jpg", 162, 170, quality=95)}
    (folder / "photos/notes.txt").write_text("no picture")
    assert rdo_encode("--iters", 3, "photos") == 0
    assert {str(p.relative_to("rdo-out")) for p in Path("rdo-out").rglob("*") if p.is_file()} == {
        "a.png.rdo", "sub/b.jpg.rdo", "results.jsonl",
    }  # fmt: skip
    table = capsys.readouterr().out
    assert rdo_decode("rdo-out") == 0
    for name, source in sources.items():
        data = Path(f"rdo-out/{name}.rdo").read_bytes()
        record, original = records()[f"rdo-out/{name}.rdo"], pixels_of(source)
        assert (record["status"], record["input"], record["error"]) == ("done", f"photos/{name}", None)
        assert (record["height"], record["width"]) == original.shape[:2]
        assert record["lmbda"] == pytest.approx(lmbda_of(4.0)) and record["quality"] == 4.0
        assert (record["model"], record["model_id"]) == ("tiny", model_id(codec).hex())
        assert (record["iters"], record["method"]) == (3, "rdoq")
        assert record["verified"] is True and record["device"] == "cpu" and record["seconds"] > 0
        check_score(record["refined"], len(data), original, pixels_of(f"rdo-out/{name}.png"), lmbda_of(4.0))
        plain = encode(codec, read_image(source))
        check_score(record["plain"], len(plain), original, decode(codec, plain).pixels.data, lmbda_of(4.0))
        assert record["refined"]["cost"] <= record["plain"]["cost"]
        assert record["gain_percent"] == pytest.approx(100 * (1 - record["refined"]["cost"] / record["plain"]["cost"]))
        assert (record["refined"]["ms_ssim"] is None) == (min(original.shape[:2]) < 161)
        assert f"photos/{name}" in table and f"{len(data)}" in table


def test_files_for_the_eye_are_measured_by_butteraugli_too(save_photo, rdo_encode, records) -> None:
    source = save_photo("a.png")
    for tune, measured in (("visual", True), ("mse", False)):
        assert rdo_encode("--iters", 1, "--tune", tune, "-o", tune, source) == 0
        (record,) = records(f"{tune}/results.jsonl").values()
        assert [record[side]["butteraugli"] is not None for side in ("plain", "refined")] == [measured] * 2


@pytest.mark.usefixtures("one_start")
def test_iters_0_is_plain_encoding(save_photo, rdo_encode, codec, records) -> None:
    source = save_photo("a.png")
    assert rdo_encode("--iters", 0, "--quality", 6.5, source) == 0
    assert Path("rdo-out/a.png.rdo").read_bytes() == encode(codec, read_image(source), 6.5)
    record = records()["rdo-out/a.png.rdo"]
    assert record["plain"] == record["refined"] and record["gain_percent"] == record["iters"] == 0
    assert record["quality"] == 6.5 and record["method"] is None


def test_the_same_command_gives_the_same_bytes(save_photo, rdo_encode) -> None:
    save_photo("in/a.png")
    for output in ("one", "two"):
        assert rdo_encode("--iters", 3, "--method", "sga", "-o", output, "in") == 0
    assert Path("one/a.png.rdo").read_bytes() == Path("two/a.png.rdo").read_bytes()


def test_refining_with_its_own_lmbda_is_never_worse_in_true_cost(save_photo, rdo_encode, records) -> None:
    save_photo("in/a.png", 60, 70)
    assert rdo_encode("--iters", 8, "--lmbda", 1e-4, "--method", "ste", "in") == 0
    record = records()["rdo-out/a.png.rdo"]
    assert record["lmbda"] == 1e-4 and record["gain_percent"] >= 0
    assert record["refined"]["cost"] < record["refined"]["bpp"] + 1e-4 * 255**2


@pytest.mark.usefixtures("one_start")
def test_refinement_that_loses_on_the_file_is_dropped(save_photo, rdo_encode, codec, records, monkeypatch) -> None:
    source = save_photo("a.png")
    honest = rdo.encoding.refine

    def refine(*args: Any, **settings: Any) -> Any:
        refined = honest(*args, **settings)
        return replace(refined, latents=type(refined.plain)(*(t + 3 for t in refined.plain)))

    monkeypatch.setattr(rdo.encoding, "refine", refine)
    assert rdo_encode("--iters", 1, source) == 0
    record = records()["rdo-out/a.png.rdo"]
    assert record["refined"] == record["plain"] and (record["gain_percent"], record["iters"]) == (0, 1)
    assert Path("rdo-out/a.png.rdo").read_bytes() == encode(codec, read_image(source))


def bad_pictures(save_photo, folder: Path) -> dict[str, str]:
    """Writes them; name -> what the message must say."""
    good = save_photo("spare.png", 20, 30).read_bytes()
    inside = folder / "in"
    inside.mkdir()
    (inside / "corrupt.png").write_bytes(good[: len(good) // 2])
    (inside / "text.png").write_text("this is no picture")
    (inside / "empty.jpg").write_bytes(b"")
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(inside / "deep.png")
    glass = Image.open(io.BytesIO(good)).convert("RGBA")
    glass.putalpha(100)
    glass.save(inside / "glass.png")
    frames = [Image.new("P", (20, 30), i) for i in range(3)]
    frames[0].putpalette([i % 256 for i in range(768)])
    frames[0].save(inside / "film.gif", save_all=True, append_images=[f.copy() for f in frames[1:]])
    return {
        "corrupt.png": "corrupt or truncated", "text.png": "no picture", "empty.jpg": "empty",
        "deep.png": "--depth 8", "glass.png": "--alpha", "film.gif": "--first-frame",
    }  # fmt: skip


def test_one_bad_picture_does_not_stop_the_rest(save_photo, rdo_encode, records, folder: Path, capsys) -> None:
    expected = bad_pictures(save_photo, folder)
    save_photo("in/good.png")
    save_photo("in/zgood.jpg")
    assert rdo_encode("--iters", 0, "in") == 1
    told = capsys.readouterr().err
    assert names(folder / "rdo-out") == {"good.png.rdo", "zgood.jpg.rdo"} and not leftovers(folder)
    for name, hint in expected.items():
        line = next(line for line in told.splitlines() if f"in/{name}: " in line)
        record = records()[f"rdo-out/{name}.rdo"]
        assert hint in line and record["error"] in line
        assert (record["status"], record["plain"], record["verified"]) == ("failed", None, False)

    assert rdo_encode("--iters", 0, "--depth", 8, "--alpha", "blend", "--first-frame", "in") == 1
    assert names(folder / "rdo-out") == {
        "good.png.rdo", "zgood.jpg.rdo", "deep.png.rdo", "glass.png.rdo", "film.gif.rdo",
    }  # fmt: skip


def test_odd_pictures_come_back_as_they_look(save_photo, rdo_encode, rdo_decode, records, pixels_of) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # rotate by a quarter to show
    save_photo("in/turned.jpg", 30, 50, exif=turned)
    save_photo("in/grey.png", 30, 50, mode="L")
    save_photo("in/print.jpg", 30, 50, mode="CMYK")
    save_photo("in/dot.png", 1, 1)
    save_photo("in/line.png", 1, 400)
    assert rdo_encode("--iters", 1, "in") == 0 and rdo_decode("rdo-out") == 0
    found = {p.name: pixels_of(p).shape for p in Path("rdo-out").glob("*.png")}
    assert found == {
        "turned.jpg.png": (50, 30, 3), "grey.png.png": (30, 50), "print.jpg.png": (30, 50, 3),
        "dot.png.png": (1, 1, 3), "line.png.png": (1, 400, 3),
    }  # fmt: skip
    turned_record = records()["rdo-out/turned.jpg.rdo"]
    assert (turned_record["width"], turned_record["height"]) == (30, 50)


@pytest.mark.usefixtures("one_start")
def test_standard_input_and_output(save_photo, model, codec, stdin, capfdbinary, folder: Path) -> None:
    source = save_photo("a.png")
    stdin(source.read_bytes())
    assert main(["--model", model, "--exact", "never", "--iters", "0", "--json", "-"]) == 0
    data = capfdbinary.readouterr().out
    assert data == encode(codec, read_image(source))  # nothing else on stdout
    assert main(["--model", model, "--exact", "never", "--iters", "0", "-o", "-", str(source)]) == 0
    assert capfdbinary.readouterr().out == data
    stdin(source.read_bytes())
    assert main(["--model", model, "--exact", "never", "--iters", "0", "-o", "b.rdo", "-"]) == 0
    assert Path("b.rdo").read_bytes() == data
    stdin(b"no picture")
    assert main(["--model", model, "-"]) == 1
    out, told = capfdbinary.readouterr()
    assert out == b"" or not out.startswith(b"RDO")
    assert b"-: no picture" in told


def test_one_file_to_one_file_keeps_no_log(save_photo, rdo_encode, folder: Path, capsys) -> None:
    assert rdo_encode("--iters", 0, "--json", "-o", "sub/b.rdo", save_photo("a.png")) == 0
    assert statuses(capsys.readouterr().out) == ["done"]
    assert names(folder) == {"sub/b.rdo"} and not list(folder.rglob("*.jsonl"))


def test_json_is_the_log(save_photo, rdo_encode, folder: Path, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    (folder / "in/b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert rdo_encode("--iters", 0, "--json", "in") == 1
    out = capsys.readouterr().out
    assert out == Path("rdo-out/results.jsonl").read_text()
    assert statuses(out) == ["done", "failed"]


def test_the_table_says_that_a_mask_weighs_its_cost(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    save_photo("mask.png", 10, 10)
    for flags in ((), ("--roi", "mask.png")):
        assert rdo_encode("--iters", 1, *flags, "in") == 0
        assert ("cost counts errors as mask.png weighs them" in capsys.readouterr().out) == bool(flags)


def test_dry_run_writes_nothing(save_photo, rdo_encode, folder: Path, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    before = sorted(folder.rglob("*"))
    assert rdo_encode("--dry-run", "in") == 0
    assert capsys.readouterr().out == "in/a.png -> rdo-out/a.png.rdo\n"
    assert sorted(folder.rglob("*")) == before


def test_dry_run_lists_what_is_left_and_tells_what_would_be_refused(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    assert rdo_encode("--iters", 0, "in") == 0
    save_photo("in/b.png", 10, 10)
    capsys.readouterr()
    assert rdo_encode("--dry-run", "--iters", 0, "in") == 0
    told = capsys.readouterr()
    assert told.out == "in/b.png -> rdo-out/b.png.rdo\n" and "1 done before" in told.err
    assert rdo_encode("--dry-run", "--iters", 0, "--overwrite", "in") == 0
    told = capsys.readouterr()
    assert told.out.count("->") == 2 and "1 would be replaced" in told.err
    Path("in/c.png").write_text("no picture")
    assert rdo_encode("--dry-run", "--iters", 1, "in") == 1
    told = capsys.readouterr()
    assert told.out.count("->") == 2 and "1 would be replaced" in told.err
    assert "in/c.png: no picture, or a damaged header" in told.err
    Image.fromarray(np.zeros((4, 4), np.uint16)).save("in/c.png")
    for flags, listed in (((), 2), (("--depth", 8), 3)):
        assert rdo_encode("--dry-run", "--iters", 1, *flags, "in") == (listed == 2)
        told = capsys.readouterr()
        assert told.out.count("->") == listed and ("in/c.png: 16-bit image" in told.err) == (listed == 2)
    Path("in/c.png").write_text("no picture")

    save_photo("other/a.png", 10, 10, seed=1)
    assert rdo_encode("--dry-run", "--iters", 0, "other") == 1
    told = capsys.readouterr()
    assert told.out == "" and "other/a.png: rdo-out/a.png.rdo is another picture's" in told.err
    assert rdo_encode("--dry-run", "--quality", 9, "in") == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_into(save_photo, rdo_encode, folder: Path) -> None:
    save_photo("a.png", 64, 64)
    os.mkfifo("pipe.rdo")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(Path("pipe.rdo").read_bytes)
        assert rdo_encode("--iters", "0", "-o", "pipe.rdo", "a.png") == 0
        assert rdo_encode("--iters", "0", "-o", "b.rdo", "a.png") == 0
        assert read.result(timeout=60) == Path("b.rdo").read_bytes()


def test_standard_input_has_no_name_for_a_folder(rdo_encode, stdin, folder: Path, capsys) -> None:
    stdin(b"")
    (folder / "out").mkdir()
    assert rdo_encode("--iters", 0, "-o", "out", "-") == 2
    assert "-o out: standard input has no name" in capsys.readouterr().err


def test_larger_pictures_are_refused(folder: Path, save_photo, rdo_encode, records, capsys) -> None:
    save_photo("a.png", 100, 120)
    assert rdo_encode("--iters", 0, "--max-megapixels", 0.01, "a.png") == 1
    assert "120 x 100 px is over 0.01 megapixels: crop it, or raise --max-megapixels" in capsys.readouterr().err
    assert rdo_encode("--iters", 0, "--max-megapixels", 0.012, "a.png") == 0
    assert records()["rdo-out/a.png.rdo"]["policy"] is None
