"""`rdo-bench complexity`, `speed` and `roofline`: their rows, what they refuse, and what they measure with."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch

from codec.coding import encode, plain_latents, read
from codec.config_files import config_folder, model_config
from codec.images.pixels import to_tensor
from codec.loading import load
from codec.model import Codec
from jobs import bench
from jobs.measuring import stages
from jobs.measuring.plot import front_plot, time_plot
from jobs.measuring.steps import bench_codec, measure, picture


@pytest.fixture
def rdo_bench(capsys: pytest.CaptureFixture[str], folder: Path) -> Any:
    def run(*flags: str) -> tuple[int, list[dict[str, Any]], str]:
        capsys.readouterr()
        status = bench.main([*flags, "--json"])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return run


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


def test_speed_times_every_stage_and_draws_them(rdo_bench, model: str) -> None:
    flags = ("--sizes", "64x64,128x64", "--repeats", "2", "--plot", "a.svg", "--model", model)
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
    lines = ET.parse("a.svg").getroot().findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(expected)


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
        ("speed", "--device", "nonesuch"), ("roofline", "--model", "nonesuch"),
    ],
)  # fmt: skip
def test_nonsense_is_a_usage_error(rdo_bench, flags: tuple[str, ...]) -> None:
    assert rdo_bench(*flags)[0] == 2


def test_the_entropy_coder_alone_makes_and_reads_the_files_own_words(model: str, monkeypatch) -> None:
    codec, pixels = load(model), picture(100, 70)
    on = stages.subject(codec, pixels, 4.0)
    assert on.data == encode(codec, pixels, 4.0)
    latents = plain_latents(codec, to_tensor(pixels), codec.level(4.0))
    assert all(torch.equal(a, b) for a, b in zip(on.latents, latents, strict=True))
    found = []
    finish = stages.SymbolWriter.finish
    monkeypatch.setattr(stages.SymbolWriter, "finish", lambda writer: found.append(finish(writer)))
    calls = stages.coding_stages(on)
    calls["entropy coding"]()
    assert found[-1].astype("<u4").tobytes() in on.data
    drained = []
    exhausted = stages.SymbolReader.code
    monkeypatch.setattr(
        stages.SymbolReader, "code", lambda self, *a: drained.append(exhausted(self, *a)) or drained[-1]
    )
    calls["entropy decoding"]()
    symbols = sum(len(d) for d in drained)
    assert symbols > sum(t.numel() for t in read(codec, on.data)[1])  # and a shift for each block


def test_a_model_without_weights_is_random_and_said_to_be() -> None:
    codec, trained = bench_codec("small", "cpu")
    assert trained and codec.config.name == "small"
    codec, trained = bench_codec("base", "cpu")
    assert not trained and not any(p.requires_grad for p in codec.parameters()) and bool(codec.prior.rows[0, 0])


def test_peak_memory_is_of_the_call_alone() -> None:
    device = torch.device("cpu")
    small = measure(lambda: torch.ones(10), device, 2)
    large = measure(lambda: torch.ones(2**26), device, 2)  # 256 MiB
    again = measure(lambda: torch.ones(10), device, 2)
    if small.peak_bytes is None or large.peak_bytes is None or again.peak_bytes is None:
        pytest.skip("this system tells no peaks")
    assert large.peak_bytes - small.peak_bytes > 200 * 2**20
    assert large.peak_bytes - again.peak_bytes > 200 * 2**20


def test_a_plot_puts_equal_factors_at_equal_distances() -> None:
    root = ET.fromstring(time_plot({"a < b": [(1, 10), (0.1, 1)], "c": [(10, 100)]}))
    line, point = root.findall("{http://www.w3.org/2000/svg}polyline")
    at = [
        tuple(map(float, pair.split(","))) for pair in (line.get("points", "") + " " + point.get("points", "")).split()
    ]
    assert at[1][0] - at[0][0] == pytest.approx(at[2][0] - at[1][0], abs=0.2) and at[0][0] < at[1][0]
    assert at[1][1] - at[0][1] == pytest.approx(at[2][1] - at[1][1], abs=0.2) and at[0][1] > at[1][1]
    assert "a < b" in {t.text for t in root.iter("{http://www.w3.org/2000/svg}text")}


def test_a_front_is_linear_in_gain_and_marks_round_values() -> None:
    root = ET.fromstring(front_plot({"a": [(1, -0.5), (10, 2), (100, 4.5)]}))
    line = root.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    at = [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]
    for axis in (0, 1):
        assert at[1][axis] - at[0][axis] == pytest.approx(at[2][axis] - at[1][axis], abs=0.2)
    shown = {t.text for t in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"0", "2", "4", "10", "seconds", "gain, %"} <= shown
