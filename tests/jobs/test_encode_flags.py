"""Flags of `rdo-encode`: usage errors, and settings from presets, YAML and flags."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from codec.bitstream.container import unpack
from codec.config_files import config_folder
from codec.errors import ConfigError
from jobs.encode import build_parser, main, settings_of
from rdo import RefineConfig, effort, recipe


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
    header = unpack(Path("a.rdo").read_bytes()).header
    assert (header.quality, header.width, header.height) == (2.5, 12, 10)


def test_large_pictures_have_tiles(save_photo, rdo_encode, records) -> None:
    save_photo("a.png", height=100, width=800)
    assert rdo_encode("--iters", "2", "--tile", "512", "-o", "out", "a.png") == 0
    contents = unpack(Path("out/a.png.rdo").read_bytes())
    assert (contents.header.tile, len(contents.streams)) == (512, 2)
    [record] = records("out/results.jsonl").values()
    assert record["verified"] and record["iters"] == 2 and record["refined"]["cost"] <= record["plain"]["cost"]
    for tile in ("0", "1024"):
        assert rdo_encode("--iters", "2", "--tile", tile, "-o", f"out-{tile}", "a.png") == 0
        assert len(unpack(Path(f"out-{tile}/a.png.rdo").read_bytes()).streams) == 1


@pytest.mark.parametrize("tile", ["100", "64", "-512", "16384"])
def test_other_tiles_are_refused(save_photo, rdo_encode, capsys, tile: str) -> None:
    save_photo("a.png")
    assert rdo_encode(f"--tile={tile}", "a.png") == 2
    assert f"tile {tile}: must be a multiple of 64 from 512 to 16320, or 0" in capsys.readouterr().err


def test_exact_blocks_stand_in_record_and_info(save_photo, rdo_encode, rdo_decode, records, model, capsys) -> None:
    from jobs.info import main as rdo_info

    picture = save_photo("in/a.png", 70, 130)
    for exact, blocks in (("never", None), ("all", 6), ("auto", 6)):  # an untrained codec costs more everywhere
        assert rdo_encode("--iters", 1, "--exact", exact, "--overwrite", "in") == 0
        told = capsys.readouterr().out
        assert ("1 picture is stored exactly: the model was not used" in told) == (exact == "auto")
        assert told.count("  stored exactly\n") == (exact != "never")
        assert records()["rdo-out/a.png.rdo"].get("exact_blocks") == blocks
    capsys.readouterr()
    assert rdo_info(["--model", model, "rdo-out"]) == 0
    assert "6 of 6 blocks" in capsys.readouterr().out
    assert rdo_decode("-o", "b.png", "rdo-out/a.png.rdo") == 0
    with Image.open(picture) as before, Image.open("b.png") as after:
        assert before.tobytes() == after.tobytes()


def test_a_lossless_file_has_no_target(save_photo, rdo_encode, capsys) -> None:
    assert rdo_encode("--exact", "all", "--target-psnr", 40, save_photo("a.png")) == 2
    assert "leave targets out" in capsys.readouterr().err
