"""`rdo-encode`: folders to verified files, what it says of them, and what is on disk after each mishap."""

import io
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import jobs.running.encode_pixels
from codec.architecture import lmbda_of
from codec.bitstream.container import unpack
from codec.checkpoint import config_folder, model_id
from codec.coding import decode, encode
from codec.errors import ConfigError
from codec.images.read import read_image
from jobs.encode import build_parser, main, settings_of
from jobs.running.failures import explain, is_out_of_memory
from rdo import RefineConfig, effort, recipe


def leftovers(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.endswith(".part")]


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*.rdo")}


def times(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in names(folder)}


def statuses(text: str) -> list[str]:
    return [json.loads(line)["status"] for line in text.splitlines()]


def check_score(found: dict[str, Any], size: int, original: Any, decoded: Any, lmbda: float) -> None:
    mse = ((original - decoded) ** 2).mean()
    assert found["bytes"] == size
    assert found["bpp"] == pytest.approx(8 * size / (original.shape[0] * original.shape[1]))
    assert found["psnr_db"] == pytest.approx(10 * math.log10(255**2 / mse))
    assert found["cost"] == pytest.approx(found["bpp"] + lmbda * mse)


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


def test_refinement_that_loses_on_the_file_is_dropped(save_photo, rdo_encode, codec, records, monkeypatch) -> None:
    source = save_photo("a.png")
    honest = jobs.running.encode_pixels.refine

    def refine(*args: Any) -> Any:
        refined = honest(*args)
        return replace(refined, latents=type(refined.plain)(*(t + 3 for t in refined.plain)))

    monkeypatch.setattr(jobs.running.encode_pixels, "refine", refine)
    assert rdo_encode("--iters", 1, source) == 0
    record = records()["rdo-out/a.png.rdo"]
    assert record["refined"] == record["plain"] and (record["gain_percent"], record["iters"]) == (0, 1)
    assert Path("rdo-out/a.png.rdo").read_bytes() == encode(codec, read_image(source))


# What a second run does


def test_a_second_run_does_only_the_rest(save_photo, rdo_encode, folder: Path, capsys) -> None:
    save_photo("in/a.png", 24, 40)
    save_photo("in/b.png", 20, 20)
    command = ("--iters", 0, "--json", "in")
    assert rdo_encode(*command) == 0
    before, log = times(folder), Path("rdo-out/results.jsonl").read_text()
    assert statuses(capsys.readouterr().out) == ["done", "done"]

    assert rdo_encode(*command) == 0
    again = capsys.readouterr().out
    assert statuses(again) == ["skipped", "skipped"] and times(folder) == before
    assert Path("rdo-out/results.jsonl").read_text() == log
    for old, new in zip(log.splitlines(), again.splitlines(), strict=True):
        assert json.loads(new) == {**json.loads(old), "status": "skipped"}

    save_photo("in/b.png", 20, 20, seed=5)
    assert rdo_encode(*command) == 0
    assert statuses(capsys.readouterr().out) == ["skipped", "done"]
    after = times(folder)
    assert after["rdo-out/a.png.rdo"] == before["rdo-out/a.png.rdo"]
    assert after["rdo-out/b.png.rdo"] != before["rdo-out/b.png.rdo"]

    Path("rdo-out/a.png.rdo").unlink()
    assert rdo_encode(*command) == 0
    assert statuses(capsys.readouterr().out) == ["done", "skipped"] and len(names(folder)) == 2


@pytest.mark.parametrize("changed", ["--iters 1", "--quality 5", "--lmbda 0.5", "--seed 3", "--overwrite"])
def test_other_settings_encode_again(save_photo, rdo_encode, changed: str, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    assert rdo_encode("--json", "--iters", 0, "in") == rdo_encode("--json", "--iters", 0, *changed.split(), "in") == 0
    told = capsys.readouterr()
    assert statuses(told.out) == ["done", "done"]
    assert ("rdo-out: replacing what other settings made" in told.err) == (changed != "--overwrite")


def test_fewer_steps_do_not_replace_more(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 20, 20)
    assert rdo_encode("--iters", 3, "in") == 0
    made = Path("rdo-out/a.png.rdo")
    best = made.read_bytes()
    capsys.readouterr()
    assert rdo_encode("--iters", 2, "--dry-run", "in") == 0
    assert not capsys.readouterr().out
    for flags in (("--iters", 2), ("--iters", 9, "--time-budget", 1e-9)):
        assert rdo_encode(*flags, "--json", "in") == 0
        told = capsys.readouterr()
        assert "rdo-out: keeping what took more steps than are asked for" in told.err
        assert statuses(told.out) == ["skipped"] and json.loads(told.out)["iters"] == 3 and made.read_bytes() == best
    assert rdo_encode("--iters", 3, "--json", "in") == 0
    told = capsys.readouterr()
    assert statuses(told.out) == ["skipped"] and "keeping" not in told.err
    assert rdo_encode("--iters", 2, "--lmbda", 0.01, "--overwrite", "--json", "in") == 0
    assert rdo_encode("--iters", 1, "--lmbda", 0.02, "--json", "in") == 0
    assert statuses(capsys.readouterr().out)[-1] == "done", "another aim is not reached by more steps"
    assert rdo_encode("--iters", 2, "--quality", 6, "in") == 0
    assert rdo_encode("--iters", 1, "--quality", 6, "--overwrite", "in") == 0
    assert rdo_encode("--iters", 3, "--quality", 6, "in") == 0
    save_photo("in/a.png", 20, 20, seed=7)
    assert rdo_encode("--iters", 2, "--quality", 6, "in") == 0, "an edited picture is done again"


def test_a_decision_on_one_picture_leaves_the_others_as_they_are(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 20, 20)
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 100).save("in/deep.png")
    for flags, outcome in (
        ((), {"a": "done", "deep": "failed"}),
        (("--depth", 8), {"a": "skipped", "deep": "done"}),
        (("--depth", 8), {"a": "skipped", "deep": "skipped"}),
        ((), {"a": "skipped", "deep": "failed"}),
    ):
        rdo_encode("--iters", 0, "--json", *flags, "in")
        found = map(json.loads, capsys.readouterr().out.splitlines())
        assert {Path(record["input"]).stem: record["status"] for record in found} == outcome

    Image.new("RGBA", (20, 20), (1, 2, 3, 4)).save("in/clear.png")
    rdo_encode("--iters", 0, "--json", "--depth", 8, "--alpha", "drop", "in")
    for rule in ("drop", "blend"):
        capsys.readouterr()
        assert rdo_encode("--iters", 0, "--json", "--depth", 8, "--alpha", rule, "in") == 0
        found = map(json.loads, capsys.readouterr().out.splitlines())
        statuses_now = {Path(record["input"]).stem: record["status"] for record in found}
        assert statuses_now == {"a": "skipped", "deep": "skipped", "clear": "skipped" if rule == "drop" else "done"}


def test_a_name_too_long_for_its_file_is_that_pictures_failure(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    save_photo(f"in/{'n' * 250}.png", 30, 30)
    assert rdo_encode("--iters", 0, "--json", "in") == 1
    told = capsys.readouterr()
    assert statuses(told.out) == ["failed", "done"] and "File name too long: rename it" in told.err


def test_another_picture_of_the_same_name_replaces_nothing(save_photo, rdo_encode, capsys, folder: Path) -> None:
    save_photo("trip/a.png", 10, 10)
    save_photo("walk/a.png", 12, 12)
    assert rdo_encode("--iters", 0, "trip") == 0
    before = Path("rdo-out/a.png.rdo").read_bytes()
    for _ in range(2):
        assert rdo_encode("--iters", 0, "walk") == 1
        assert "is another picture's, trip/a.png: name another folder" in capsys.readouterr().err
        assert Path("rdo-out/a.png.rdo").read_bytes() == before
    Path("trip").rename("journey")
    assert rdo_encode("--iters", 1, "journey") == 0, "the same picture elsewhere is the same picture"
    save_photo("journey/a.png", 14, 14)
    assert rdo_encode("--iters", 1, "journey") == 0, "an edited picture is done again"
    assert rdo_encode("--iters", 0, "--overwrite", "walk") == 0


def test_another_picture_is_told_from_an_edited_one_in_other_folders_too(
    save_photo, rdo_encode, capsys, folder: Path, monkeypatch
) -> None:
    """Records hold names as they were given; two pictures may be called alike from different folders."""
    save_photo("trip/a.png", 10, 10)
    save_photo("walk/a.png", 12, 12)
    monkeypatch.chdir(folder / "trip")
    assert rdo_encode("--iters", 0, "-o", "../out", "a.png") == 0
    before = (folder / "out/a.png.rdo").read_bytes()
    monkeypatch.chdir(folder / "walk")
    assert rdo_encode("--iters", 0, "-o", folder / "out", "a.png") == 1
    assert "is another picture's, ../trip/a.png: name another folder" in capsys.readouterr().err
    (folder / "out").rename(folder / "moved")
    assert rdo_encode("--iters", 0, "-o", "../moved", "a.png") == 1
    assert (folder / "moved/a.png.rdo").read_bytes() == before
    monkeypatch.chdir(folder)
    save_photo("trip/a.png", 14, 14)
    (folder / "moved").rename(folder / "out")
    assert rdo_encode("--iters", 0, "-o", "out", "trip") == 0, "an edited picture is done again"


def test_the_table_tells_what_was_done_before(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    for expected in (False, True):
        assert rdo_encode("--iters", 0, "in") == 0
        assert ("1 of 1 were done before" in capsys.readouterr().out) == expected


@pytest.mark.parametrize("output", [(), ("-o", "rdo-out/a.png.rdo")])
def test_a_foreign_file_is_not_overwritten(save_photo, rdo_encode, output: tuple[str, ...], capsys) -> None:
    save_photo("in/a.png", 10, 10)
    Path("rdo-out").mkdir()
    foreign = Path("rdo-out/a.png.rdo")
    foreign.write_bytes(b"mine")
    assert rdo_encode("--iters", 0, *output, "in") == 1
    assert foreign.read_bytes() == b"mine"
    assert "in/a.png: rdo-out/a.png.rdo exists" in (told := capsys.readouterr().err) and "--overwrite" in told
    assert rdo_encode("--iters", 0, "--overwrite", *output, "in") == 0
    assert foreign.read_bytes()[:3] == b"RDO"


def test_a_foreign_file_is_not_overwritten_by_asking_twice(save_photo, rdo_encode) -> None:
    save_photo("in/a.png", 10, 10)
    save_photo("in/b.png", 10, 10)
    Path("rdo-out").mkdir()
    Path("rdo-out/a.png.rdo").write_bytes(b"mine")
    assert [rdo_encode("--iters", 0, "in") for _ in range(2)] == [1, 1]
    assert Path("rdo-out/a.png.rdo").read_bytes() == b"mine"


def test_an_rdo_file_from_elsewhere_is_not_overwritten_by_asking_twice(save_photo, rdo_encode, rdo_bytes) -> None:
    save_photo("in/a.png", 10, 10)
    save_photo("in/b.png", 10, 10)
    Path("rdo-out").mkdir()
    Path("rdo-out/a.png.rdo").write_bytes(rdo_bytes)
    assert [rdo_encode("--iters", 0, "in") for _ in range(2)] == [1, 1]
    assert Path("rdo-out/a.png.rdo").read_bytes() == rdo_bytes


def test_a_result_damaged_since_is_told_and_made_good_when_asked(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    assert rdo_encode("--iters", 0, "in") == 0
    good = Path("rdo-out/a.png.rdo").read_bytes()
    Path("rdo-out/a.png.rdo").write_bytes(good[:-1])
    assert rdo_encode("--iters", 0, "in") == 1
    told = capsys.readouterr().err
    assert "rdo-out/a.png.rdo is damaged, or was altered since: pass --overwrite to replace it" in told
    assert rdo_encode("--iters", 0, "--overwrite", "in") == 0
    assert Path("rdo-out/a.png.rdo").read_bytes() == good


def test_a_failure_in_between_does_not_disown_the_file(save_photo, rdo_encode, capsys) -> None:
    source = save_photo("in/a.png", 10, 10)
    good = source.read_bytes()
    for data, status in ((good, "done"), (good[:40], "failed"), (good, "skipped")):
        source.write_bytes(data)
        assert rdo_encode("--iters", 0, "--json", "in") == (status == "failed")
        assert statuses(capsys.readouterr().out) == [status]


def test_a_run_killed_before_its_record_is_made_good(save_photo, rdo_encode, monkeypatch, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.running.run.append_record", interrupt)
        assert rdo_encode("--iters", 0, "in") == 130
    for status in ("done", "skipped"):
        assert rdo_encode("--iters", 0, "--json", "in") == 0
        assert statuses(capsys.readouterr().out) == [status]


def test_a_failure_before_the_kill_does_not_disown_what_it_left(save_photo, rdo_encode, monkeypatch) -> None:
    source = save_photo("in/a.png", 10, 10)
    good = source.read_bytes()
    source.write_bytes(good[:40])
    assert rdo_encode("--iters", 0, "in") == 1
    source.write_bytes(good)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.running.run.append_record", interrupt)
        assert rdo_encode("--iters", 0, "in") == 130
    assert rdo_encode("--iters", 0, "in") == 0


def test_a_file_that_no_record_names_is_replaced_aloud_and_only_if_it_may_be_the_pictures(
    save_photo, rdo_encode, rdo_bytes, capsys
) -> None:
    save_photo("in/a.png", 10, 10)
    assert rdo_encode("--iters", 0, "-o", "rdo-out/a.png.rdo", "in/a.png") == 0
    save_photo("b.png", 10, 10)
    assert rdo_encode("--iters", 0, "b.png") == 0
    capsys.readouterr()
    assert rdo_encode("--iters", 1, "in") == 0
    assert "rdo-out: replacing what other settings made" in capsys.readouterr().err

    save_photo("in/c.png", 10, 10)
    Path("rdo-out/c.png.rdo").write_bytes(rdo_bytes)  # of another size
    assert rdo_encode("--iters", 1, "in") == 1
    assert Path("rdo-out/c.png.rdo").read_bytes() == rdo_bytes


def test_another_spelling_of_the_output_is_the_same_output(save_photo, rdo_encode, folder: Path, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    for output, status in (("out", "done"), (folder / "out", "skipped")):
        assert rdo_encode("--iters", 0, "--json", "-o", output, "in") == 0
        assert statuses(capsys.readouterr().out) == [status]


# Pictures that need a decision, are damaged or odd


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


# Standard streams, one file, JSON


def test_standard_input_and_output(save_photo, model, codec, stdin, capfdbinary, folder: Path) -> None:
    source = save_photo("a.png")
    stdin(source.read_bytes())
    assert main(["--model", model, "--iters", "0", "--json", "-"]) == 0
    data = capfdbinary.readouterr().out
    assert data == encode(codec, read_image(source))  # nothing else on stdout
    assert main(["--model", model, "--iters", "0", "-o", "-", str(source)]) == 0
    assert capfdbinary.readouterr().out == data
    stdin(source.read_bytes())
    assert main(["--model", model, "--iters", "0", "-o", "b.rdo", "-"]) == 0
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


# Usage


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "nonesuch"], "nonesuch: no such model or file; installed models: base-skip, small"),
        (["--model", "typo.yaml"], "not a codec checkpoint|cannot be read as safetensors"),
        (["--quality", "9"], "quality 9.0: must lie between 1"),
        (["--quality", "nan"], "quality nan: must lie between 1"),
        (["--device", "nonesuch"], "--device nonesuch: not usable here"),
        (["--iters", "-1"], "iters"),
        (["--time-budget", "0"], "time_budget"),
        (["--time-budget", "nan"], "time_budget: expected a finite number"),
        (["--config", "typo.yaml"], "typo.yaml: iter: unknown key; did you mean 'iters'"),
        (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
        (["missing.png"], "missing.png: no such file"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(save_photo, rdo_encode, flags: list[str], message: str, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    Path("typo.yaml").write_text("iter: 3\n")
    assert rdo_encode(*flags, "in") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert any(part in told for part in message.split("|"))
    assert not list(Path("rdo-out").rglob("*.rdo"))


@pytest.mark.parametrize("flags", [["--qualty", "3"], ["--iters", "many"], ["--depth", "16"], ["--alpha", "keep"], []])
def test_flags_that_do_not_exist_are_status_2(flags: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*flags, "in"] if flags else [])
    assert stopped.value.code == 2 and "usage: rdo-encode" in capsys.readouterr().err


@pytest.mark.parametrize("lmbda", ["-1", "0", "nan", "inf"])
def test_lmbda_must_be_positive(save_photo, rdo_encode, lmbda: str, capsys) -> None:
    assert rdo_encode("--iters", 1, "--lmbda", lmbda, save_photo("a.png", 10, 10)) == 2
    assert f"lmbda {float(lmbda)}: must be positive" in capsys.readouterr().err


def test_defaults_then_yaml_then_flags(folder: Path) -> None:
    Path("slow.yaml").write_text("iters: 900\nlr_y: 5e-3\nmethod: ste\n")

    def settings(*flags: str) -> RefineConfig:
        return settings_of(build_parser().parse_args([*flags, "in"])).refine

    assert settings() == RefineConfig()
    assert settings("--iters", "7", "--seed", "3") == replace(recipe(7), seed=3)
    assert settings("--effort", "2", "--iters", "7") == replace(effort(2), iters=7)
    assert settings("--config", "slow.yaml") == RefineConfig(iters=900, lr_y=5e-3, method="ste")
    both = settings("--config", "slow.yaml", "--iters", "7", "--patience", "2", "--time-budget", "1.5")
    assert both == RefineConfig(iters=7, lr_y=5e-3, method="ste", patience=2, time_budget=1.5)
    foreign = ("--model", "compressai:mbt2018-mean:3")
    assert settings(*foreign) == replace(RefineConfig(), method="sga")
    assert settings(*foreign, "--method", "rdoq") == RefineConfig()
    assert settings("--effort", "9", "--method", "sga") == RefineConfig(iters=640, method="sga")
    assert settings(*foreign, "--config", "slow.yaml").method == "ste"
    with pytest.raises(ConfigError, match="iters"):
        settings("--iters", "-5")


def test_settings_that_come_with_the_package_are_valid() -> None:
    shipped = {
        path.stem: settings_of(build_parser().parse_args(["--config", str(path), "in"])).refine
        for path in (config_folder() / "refine").glob("*.yaml")
    }
    assert shipped["effort-5"] == RefineConfig() and len(shipped) > 9


def test_yaml_reaches_the_record(save_photo, rdo_encode, records) -> None:
    save_photo("in/a.png", 10, 10)
    Path("slow.yaml").write_text("iters: 2\nmethod: ste\n")
    assert rdo_encode("--config", "slow.yaml", "in") == 0
    first = records()["rdo-out/a.png.rdo"]
    assert rdo_encode("--config", "slow.yaml", "--iters", 3, "in") == 0
    second = records()["rdo-out/a.png.rdo"]
    assert (first["iters"], second["iters"]) == (2, 3) and first["config_hash"] != second["config_hash"]


def test_quality_stands_in_the_file(save_photo, rdo_encode) -> None:
    assert rdo_encode("--iters", 0, "--quality", 2.5, "-o", "a.rdo", save_photo("a.png", 10, 12)) == 0
    header, _ = unpack(Path("a.rdo").read_bytes())
    assert (header.quality, header.width, header.height) == (2.5, 12, 10)


# Mishaps


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_leaves_no_half_file_and_the_run_goes_on(
    save_photo, rdo_encode, records, monkeypatch, folder: Path, capsys
) -> None:
    save_photo("in/big.png", 30, 30)
    save_photo("in/small.png", 20, 20)
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:  # the largest picture comes first
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("codec.files.os", SimpleNamespace(fsync=fsync, getpid=os.getpid))
        assert rdo_encode("--iters", 0, "in") == 1
    assert names(folder) == {"rdo-out/small.png.rdo"} and not leftovers(folder) and len(calls) == 2
    failed = records()["rdo-out/big.png.rdo"]
    assert failed["status"] == "failed"
    assert failed["error"].startswith("No space left on device")
    assert "in/big.png: No space left on device" in capsys.readouterr().err
    assert rdo_encode("--iters", 0, "in") == 0
    assert names(folder) == {"rdo-out/small.png.rdo", "rdo-out/big.png.rdo"}


def test_a_picture_that_could_not_be_written_has_no_scores(save_photo, rdo_encode, records, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    Path("rdo-out/a.png.rdo").mkdir(parents=True)
    assert rdo_encode("--iters", 0, "--overwrite", "in") == 1
    record = records()["rdo-out/a.png.rdo"]
    assert (record["status"], record["plain"], record["refined"]) == ("failed", None, None)
    assert record["verified"] is False and capsys.readouterr().out.count("in/a.png") == 1


def test_an_output_folder_that_cannot_be_is_one_line(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    Path("taken").write_text("a file")
    assert rdo_encode("--iters", 0, "-o", "taken", "in") == 2
    assert "-o taken: a file has this name" in capsys.readouterr().err and Path("taken").read_text() == "a file"
    assert rdo_encode("--iters", 0, "-o", "taken.png", "in") == 2
    assert "-o taken.png: name a folder, or one file that ends in .rdo" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done(save_photo, rdo_encode, monkeypatch, folder: Path, records, capsys) -> None:
    save_photo("in/big.png", 30, 30)
    save_photo("in/mid.png", 25, 25)
    save_photo("in/small.png", 20, 20)
    honest, calls = jobs.running.encode_pixels.refine, []

    def refine(*args: Any) -> Any:
        calls.append(args)
        return honest(*args) if len(calls) == 1 else interrupt()

    monkeypatch.setattr(jobs.running.encode_pixels, "refine", refine)
    assert rdo_encode("--iters", 0, "in") == 130
    assert names(folder) == {"rdo-out/big.png.rdo"} == set(records()) and not leftovers(folder)
    assert "interrupted" in capsys.readouterr().err
    monkeypatch.setattr(jobs.running.encode_pixels, "refine", honest)
    assert rdo_encode("--iters", 0, "--json", "in") == 0
    assert statuses(capsys.readouterr().out) == ["skipped", "done", "done"]


def test_a_file_that_decodes_to_others_symbols_is_not_written(save_photo, rdo_encode, monkeypatch, folder) -> None:
    honest = jobs.running.encode_pixels.decode

    def decode_wrongly(*args: Any) -> Any:
        found = honest(*args)
        found.latents.y[0, 0, 0, 0] += 1
        return found

    monkeypatch.setattr(jobs.running.encode_pixels, "decode", decode_wrongly)
    assert rdo_encode("--iters", 0, save_photo("a.png", 10, 10)) == 1
    assert not names(folder)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device"), "No space left on device: check the disk and the permissions"),
        (MemoryError(), "out of memory: "),
        (ConfigError("quality 9: too high"), "quality 9: too high"),
    ],
)
def test_errors_are_explained_in_a_line(error: Exception, text: str) -> None:
    assert explain(error).startswith(text) and "\n" not in explain(error)


def test_out_of_memory_is_that_pictures_verdict(save_photo, rdo_encode, monkeypatch, folder: Path) -> None:
    save_photo("in/big.png", 30, 30)
    save_photo("in/small.png", 20, 20)
    honest = jobs.running.encode_pixels.refine

    def refine(codec: Any, x: Any, *args: Any) -> Any:
        if x.shape[-1] == 30:
            x.new_empty(10**15)  # what torch raises where a tensor does not fit
        return honest(codec, x, *args)

    monkeypatch.setattr(jobs.running.encode_pixels, "refine", refine)
    assert rdo_encode("--iters", 0, "in") == 1
    assert names(folder) == {"rdo-out/small.png.rdo"}


@pytest.mark.parametrize(("iters", "status", "tried"), [(1, 0, [None, 520 * 520 // 4]), (0, 1, [None])])
def test_out_of_memory_is_tried_again_in_narrow_strips(
    iters: int, status: int, tried: list[int | None], save_photo, rdo_encode, monkeypatch
) -> None:
    honest, strips = jobs.running.encode_pixels.refine, []

    def refine(codec: Any, x: Any, quality: float, config: RefineConfig, *args: Any) -> Any:
        strips.append(config.strip_pixels)
        if config.strip_pixels is None:
            x.new_empty(10**15)
        return honest(codec, x, quality, config, *args)

    monkeypatch.setattr(jobs.running.encode_pixels, "refine", refine)
    assert rdo_encode("--iters", iters, save_photo("a.png", 520, 520)) == status
    assert strips == tried


@pytest.mark.parametrize(
    "text", ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"]
)
def test_memory_runs_out_in_many_words(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    try:
        try:
            raise torch.OutOfMemoryError
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")
    except RuntimeError as error:
        assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ZeroDivisionError("division by zero")])
def test_our_own_mistakes_are_that_pictures_verdict(save_photo, rdo_encode, monkeypatch, folder, capsys, error) -> None:
    save_photo("in/big.png", 30, 30)
    save_photo("in/small.png", 20, 20)
    honest = jobs.running.encode_pixels.refine

    def refine(codec: Any, x: Any, *args: Any) -> Any:
        if x.shape[-1] == 30:
            raise error
        return honest(codec, x, *args)

    monkeypatch.setattr(jobs.running.encode_pixels, "refine", refine)
    assert rdo_encode("--iters", 0, "in") == 1
    assert f"in/big.png: {type(error).__name__}: {error}: please report" in capsys.readouterr().err
    assert names(folder) == {"rdo-out/small.png.rdo"}


def test_standard_input_has_no_name_for_a_folder(rdo_encode, stdin, folder: Path, capsys) -> None:
    stdin(b"")
    (folder / "out").mkdir()
    assert rdo_encode("--iters", 0, "-o", "out", "-") == 2
    assert "-o out: standard input has no name" in capsys.readouterr().err
