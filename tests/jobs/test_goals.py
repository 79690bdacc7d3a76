"""`rdo-encode` towards something else than least cost at a quality: targets, MS-SSIM, a mask."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import rdo
from codec import decode, load, read_image, to_tensor
from codec.architecture import trained_for
from codec.checkpoint import export
from codec.metrics.distortion import image_distortion
from codec.model import Codec
from jobs.encode import main


def encode(*flags: object) -> int:
    return main([*(str(flag) for flag in flags), "--effort", "1", "--json", "a.png"])


def distortion(record: Any, codec: Codec, kind: str) -> float:
    """Return the distortion of a record's file, decoded again, from its picture."""
    pictures = decode(codec, Path(record["output"]).read_bytes()).pixels, read_image(Path(record["input"]))
    return float(image_distortion(*(to_tensor(pixels) for pixels in pictures), kind))


@pytest.fixture
def last(folder: Path, save_photo, capsys) -> Any:
    """Gives the record printed last; `a.png` lies in the working folder."""
    save_photo("a.png", 170, 180)
    return lambda: json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(("flag", "value"), [("--target-bytes", 1000), ("--target-bpp", 0.085), ("--target-psnr", 40)])
def test_a_target_is_met_by_the_file(last, save_photo, flag: str, value: float) -> None:
    save_photo("a.png", 300, 320)  # of smaller files 1 % is less than two words, larger ones are beyond quality 8
    assert encode(flag, value) == 0
    record = last()
    size = Path(record["output"]).stat().st_size
    if flag == "--target-psnr":
        assert record["refined"]["psnr_db"] == pytest.approx(value, abs=0.06)
    else:
        most = value if flag == "--target-bytes" else value * 300 * 320 / 8
        assert min(0.99 * most, most // 4 * 4 - 8) <= size <= most
    assert record["verified"] and 1 <= record["quality"] <= 8 and record["refined"]["bytes"] == size
    found = record["refined"]
    mse = 255**2 / 10 ** (found["psnr_db"] / 10)
    assert found["cost"] == pytest.approx(found["bpp"] + record["lmbda"] * mse)


def test_a_target_met_with_more_steps_is_kept(last) -> None:
    for target, iters, status in ((700, 3, "done"), (700, 2, "skipped"), (760, 2, "done")):
        assert encode("--target-bytes", target, "--iters", iters) == 0
        assert last()["status"] == status


def test_a_target_out_of_reach_is_that_pictures_failure(last, capsys) -> None:
    assert encode("--target-bytes", 90) == 1
    assert "out of reach; plain encoding's nearest is" in json.loads(capsys.readouterr().out)["error"]
    assert not list(Path("rdo-out").glob("*.rdo"))


def test_a_ceiling_above_the_highest_quality_is_told(last, capsys) -> None:
    assert encode("--target-bytes", 900_000) == 0
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert record["quality"] == 8
    assert f"a.png: {900_000 - record['refined']['bytes']} bytes fewer than allowed" in told.err


def test_ms_ssim_is_what_improves_when_it_is_asked_for(last) -> None:
    grain = np.random.default_rng(0).integers(60, 200, (46, 46, 3), dtype=np.uint8)
    Image.fromarray(grain).resize((184, 184), Image.Resampling.BICUBIC).save("a.png")
    assert encode("--ms-ssim", 1, "--iters", 10) == 0
    record = last()
    assert record["gain_percent"] > 0
    found = record["refined"]
    error = distortion(record, load("small"), "ms_ssim")
    assert found["cost"] == pytest.approx(found["bpp"] + record["lmbda"] * error, rel=1e-4)


def test_a_model_for_ms_ssim_is_refined_for_it_unless_told_otherwise(last, make_codec, folder: Path) -> None:
    codec = make_codec()
    codec.config = trained_for(codec.config, "ms_ssim")
    path = export(codec, folder)
    assert path.name == "tiny-ms-ssim.safetensors"
    rows, columns = np.mgrid[0:184, 0:184]
    Image.fromarray(((rows * columns) % 251).astype(np.uint8)).save("a.png")
    for flags, kind in (((), "ms_ssim"), (("--ms-ssim", 0), "mse")):
        assert encode("--model", path, "--iters", 0, "--overwrite", *flags) == 0
        record = last()
        found = record["plain"]
        error = distortion(record, load(str(path)), kind)
        assert found["cost"] == pytest.approx(found["bpp"] + record["lmbda"] * error, rel=1e-4)


def test_a_picture_too_small_for_ms_ssim_is_refined_for_the_mse(make_codec, folder: Path, save_photo, capsys) -> None:
    codec = make_codec()
    codec.config = trained_for(codec.config, "ms_ssim")
    path = export(codec, folder)
    save_photo("a.png", 160, 200)
    assert encode("--model", path, "--iters", 2, "--exact", "never") == 0
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert "a.png: too small for MS-SSIM" in told.err
    for found in (record["plain"], record["refined"]):
        error = 255**2 / 10 ** (found["psnr_db"] / 10)
        assert found["cost"] == pytest.approx(found["bpp"] + record["lmbda"] * error, rel=1e-4)
    assert rdo.encode(load(str(path)), read_image(Path("a.png")), iters=0)
    assert encode("--model", path, "--ms-ssim", 1, "--iters", 2, "--overwrite") == 1
    assert "sides of 161 pixels or more" in capsys.readouterr().err


def test_a_mask_moves_bits_to_where_it_is_white(last) -> None:
    mask = np.zeros((170, 180), np.uint8)
    mask[:, :90] = 255
    Image.fromarray(mask).save("mask.png")
    errors = []
    for flags in ((), ("--roi", "mask.png", "--roi-weight", 20)):
        assert encode(*flags, "--iters", 10, "--overwrite") == 0
        decoded = decode(load("small"), Path(last()["output"]).read_bytes()).pixels.data.astype(float)
        error = (decoded - np.asarray(Image.open("a.png").convert("RGB"))) ** 2
        errors.append((error[:, :90].mean(), error[:, 90:].mean()))
    (left, right), (left_masked, right_masked) = errors
    assert left_masked < left and right_masked > right


def test_a_mask_that_vanishes_fails_its_picture(last, save_photo, capsys, monkeypatch) -> None:
    from jobs.running import encoding as worker

    Image.fromarray(np.full((170, 180), 255, np.uint8)).save("mask.png")
    honest = worker.file_stamp

    def vanish(path: Path) -> str | None:
        Path("mask.png").unlink(missing_ok=True)
        return honest(path)

    monkeypatch.setattr(worker, "file_stamp", vanish)
    assert main(["--roi", "mask.png", "--effort", "1", "--json", "a.png", str(save_photo("b.png", 170, 180))]) == 1
    told = capsys.readouterr()
    assert [json.loads(line)["status"] for line in told.out.splitlines()] == ["failed", "failed"]
    assert "mask.png" in told.err


def test_another_mask_under_the_same_name_is_encoded_anew(last) -> None:
    for grey, status in ((255, "done"), (255, "skipped"), (80, "done")):
        mask = np.full((170, 180), grey, np.uint8)
        mask[:50] = 0
        Image.fromarray(mask).save("mask.png")
        assert encode("--roi", "mask.png") == 0
        assert last()["status"] == status


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--target-bytes", 500, "--target-psnr", 30), "one of target_bytes"),
        (("--target-bpp", 0), "target 0.0: must be positive"),
        (("--target-psnr", 30, "--lmbda", 0.1), "one of target_bytes"),
        (("--target-psnr", 30, "--quality", 4), "the target settles the quality"),
        (("--ms-ssim", 1.5), "ms_ssim 1.5: a share"),
        (("--roi", "missing.png"), "missing.png"),
        (("--roi-weight", 3), "--roi-weight: of a mask: add --roi"),
        (("--roi", "a.png", "--roi-weight", 1e-9), "roi_weight 1e-09: must lie between"),
        (("--roi", "a.png", "--roi-weight", 1e38), "roi_weight 1e+38: must lie between"),
        (("--seed", 10**20), "seed 100000000000000000000: must lie in"),
        (("--effort", 12), "effort 12: must be a whole number from 1 to 9"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(last, flags, message: str, capsys) -> None:
    assert main([*map(str, flags), "a.png"]) == 2
    assert message in capsys.readouterr().err


def test_a_mask_that_would_weigh_nothing_is_refused(last, capsys) -> None:
    Image.fromarray(np.zeros((170, 180), np.uint8)).save("mask.png")
    assert encode("--roi", "mask.png", "--ms-ssim", 1) == 2
    assert "a mask weighs the mse" in capsys.readouterr().err


def test_a_mask_that_is_no_picture_is_refused_once(last, capsys) -> None:
    Path("mask.png").write_text("text")
    assert encode("--roi", "mask.png") == 2
    assert "error: mask.png: no picture" in capsys.readouterr().err


def test_of_an_animated_mask_the_first_frame_can_be_had(last, capsys) -> None:
    frames = [Image.fromarray(np.full((170, 180), value, np.uint8)) for value in (0, 255)]
    frames[0].save("mask.gif", save_all=True, append_images=frames[1:])
    assert encode("--roi", "mask.gif") == 2
    assert "pass --first-frame" in capsys.readouterr().err
    assert encode("--roi", "mask.gif", "--first-frame") == 0


def test_a_mask_of_another_size_fails_and_says_so(last, capsys) -> None:
    Image.fromarray(np.zeros((10, 20), np.uint8)).save("mask.png")
    assert encode("--roi", "mask.png") == 1
    assert "the mask is 20x10 pixels, the picture 180x170" in capsys.readouterr().err
