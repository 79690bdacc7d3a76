"""`rdo-bench complexity`, `speed` and `roofline`: their rows, what they refuse, and what they measure with."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from codec.coding import encode, plain_latents, read
from codec.config_files import config_folder, model_config
from codec.images.pixels import to_tensor
from codec.loading import load
from codec.model import Codec
from jobs import bench
from jobs.measuring import stages
from jobs.measuring.inputs import Size, load_bench_codec, synthetic_picture
from jobs.measuring.timing import time_calls


@pytest.fixture
def rdo_bench(capsys: pytest.CaptureFixture[str], folder: Path) -> Any:
    def run(*flags: str) -> tuple[int, list[dict[str, Any]], str]:
        capsys.readouterr()
        status = bench.main([*flags, "--json"])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return run


def texts(path: str) -> set[str | None]:
    return {element.text for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")}


def test_complexity_counts_every_part_and_switch(rdo_bench) -> None:
    status, rows, _ = rdo_bench("complexity", "--models", "small", "--sizes", "kodak,2k")
    assert status == 0 and {row["size"] for row in rows} == {"kodak", "2k"}
    kodak = {row["part"]: row for row in rows if row["size"] == "kodak" and "part" in row}
    codec = Codec(model_config("small"))
    for part in ("g_a", "g_s", "h_a", "h_s"):
        assert kodak[part]["parameters"] == sum(p.numel() for p in getattr(codec, part).parameters())
    ours = kodak["EGR + SFG + cache"]
    assert ours["parameters"] == sum(p.numel() for p in codec.context.parameters())
    for count in ("kmac_per_pixel", "steps_kmac_per_pixel", "refinement_kmac_per_pixel"):
        parts = sum(kodak[f"context {part}"][count] for part in ("embed", "attention", "mlp", "head"))
        assert parts == pytest.approx(ours[count])
    found = {row["ratio"]: row["ours"] for row in rows if row["size"] == "kodak" and "ratio" in row}
    saved = 100 * (1 - ours["steps_kmac_per_pixel"] / kodak["plain groups"]["steps_kmac_per_pixel"])
    assert len(found) == 5 and found["EGR, SFG and cache save, %"] == pytest.approx(saved)


@pytest.mark.parametrize(("window", "ratios"), [(4, 5), (24, 3)])
def test_complexity_of_other_windows(rdo_bench, folder: Path, window: int, ratios: int) -> None:
    small = (config_folder() / "models/small.yaml").read_text()
    (folder / "mine.yaml").write_text(f"{small}\nwindow: {window}\n")
    status, rows, _ = rdo_bench("complexity", "--models", "mine.yaml", "--sizes", "100x70")
    assert status == 0 and sum("ratio" in row for row in rows) == ratios


def test_complexity_for_people_names_the_papers_figures(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert bench.main(["complexity", "--models", "base", "--sizes", "100x70"]) == 0
    out = capsys.readouterr().out
    assert "base, 100x70" in out and "(the paper: 145)" in out and "pContextformer, stride 16 " in out


def test_speed_times_every_stage(rdo_bench, model: str) -> None:
    flags = ("--sizes", "64x64,128x64", "--repeats", "2", "--model", model)
    status, rows, err = rdo_bench("speed", *flags)
    assert status == 0
    expected = ["encode", "decode", "entropy coding", "entropy decoding", "refinement step"]
    expected += [f"context, {way}" for way in ("cached", "naive", "plain", "serial")]
    assert [row["stage"] for row in rows] == 2 * expected
    for row in rows:
        assert 0 < row["seconds_least"] <= row["seconds"] <= row["seconds_most"]
        corners = {"64x64": 4, "128x64": 8}[row["size"]]
        assert row["scaled"] == (corners if row["stage"] == "context, serial" else 1)
    assert "64x64: serial context model over cached" in err and "2.0 times the pixels" in err


def test_speed_draws_a_line_for_each_stage(rdo_bench, model: str) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` brings it")
    flags = ("--sizes", "64x64,128x64", "--ways", "cached", "--repeats", "1", "--plot", "a.svg", "--model", model)
    status, rows, _ = rdo_bench("speed", *flags)
    assert status == 0 and {row["stage"] for row in rows} <= texts("a.svg") and "megapixels" in texts("a.svg")


def test_roofline_sets_every_stage_against_its_floor(rdo_bench, model: str) -> None:
    status, rows, err = rdo_bench("roofline", "--sizes", "64x64", "--repeats", "2", "--model", model)
    assert status == 0 and "Gop/s in fp32" in err
    assert len(rows) == 8
    for row in rows:
        assert row["floor_seconds"] > 0 and row["times_floor"] == pytest.approx(row["seconds"] / row["floor_seconds"])
    whole, parts = rows[-1], [row for row in rows if row["stage"] in ("h_s", "context, in steps", "g_s")]
    assert whole["seconds"] == pytest.approx(sum(row["seconds"] for row in parts))


@pytest.mark.parametrize(
    "flags",
    [
        ("complexity", "--sizes", "huge"), ("complexity", "--models", "nonesuch"), ("speed", "--sizes", "0x5"),
        ("speed", "--ways", "fast"), ("speed", "--repeats", "0"), ("roofline", "--repeats", "0"),
        ("speed", "--plot", "a.pdf"), ("speed", "--device", "nonesuch"), ("roofline", "--model", "nonesuch"),
    ],
)  # fmt: skip
def test_nonsense_is_a_usage_error(rdo_bench, flags: tuple[str, ...]) -> None:
    assert rdo_bench(*flags)[0] == 2


def test_the_entropy_coder_alone_makes_and_reads_the_files_own_words(model: str, monkeypatch) -> None:
    codec, pixels = load(model), synthetic_picture(Size(100, 70))
    inputs = stages.prepare(codec, pixels, 4.0)
    assert inputs.data == encode(codec, pixels, 4.0)
    latents = plain_latents(codec, to_tensor(pixels), codec.level(4.0))
    assert all(torch.equal(a, b) for a, b in zip(inputs.latents, latents, strict=True))
    found = []
    finish = stages.SymbolWriter.finish
    monkeypatch.setattr(stages.SymbolWriter, "finish", lambda writer: found.append(finish(writer)))
    calls = stages.coding_stages(inputs)
    calls["entropy coding"]()
    assert found[-1].astype("<u4").tobytes() in inputs.data
    drained = []
    exhausted = stages.SymbolReader.code
    monkeypatch.setattr(
        stages.SymbolReader, "code", lambda self, *a: drained.append(exhausted(self, *a)) or drained[-1]
    )
    calls["entropy decoding"]()
    symbols = sum(len(d) for d in drained)
    assert symbols > sum(t.numel() for t in read(codec, inputs.data)[1])  # and a shift for each block


def test_a_model_without_weights_is_random_and_said_to_be() -> None:
    codec, trained = load_bench_codec("small", "cpu")
    assert trained and codec.config.name == "small"
    codec, trained = load_bench_codec("base", "cpu")
    assert not trained and not any(p.requires_grad for p in codec.parameters()) and bool(codec.prior.rows[0, 0])


def test_peak_memory_is_of_the_call_alone() -> None:
    device = torch.device("cpu")
    small = time_calls(lambda: torch.ones(10), device, 2)
    large = time_calls(lambda: torch.ones(2**26), device, 2)  # 256 MiB
    again = time_calls(lambda: torch.ones(10), device, 2)
    if small.peak_bytes is None or large.peak_bytes is None or again.peak_bytes is None:
        pytest.skip("this system tells no peaks")
    assert large.peak_bytes - small.peak_bytes > 200 * 2**20
    assert large.peak_bytes - again.peak_bytes > 200 * 2**20
