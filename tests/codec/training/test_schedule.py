"""Schedules: phases follow each other by their shares, and the shipped files are valid."""

from pathlib import Path

import pytest

from codec.config_files import config_folder
from codec.errors import ConfigError
from codec.settings import build, override, to_mapping
from codec.training.schedule import Phase, TrainConfig, lr_factor, named_schedule, phase_at, with_crop_and_batch

THREE = TrainConfig(
    steps=100, crop=128, batch=6, phases=(Phase(share=2), Phase(share=1, crop=256, batch=2), Phase(rounding="hard"))
)
SHIPPED = sorted(path.stem for path in (config_folder() / "train").glob("*.yaml"))


@pytest.mark.parametrize(
    ("progress", "crop", "batch", "rounding"),
    [(0, 128, 6, "noise"), (0.499, 128, 6, "noise"), (0.5, 256, 2, "noise"), (0.749, 256, 2, "noise"),
     (0.75, 128, 6, "hard"), (1, 128, 6, "hard")],
)  # fmt: skip
def test_each_phase_comes_at_its_share(progress: float, crop: int, batch: int, rounding: str) -> None:
    phase = phase_at(THREE, progress)
    assert (phase.crop, phase.batch, phase.rounding) == (crop, batch, rounding)


def test_without_phases_the_schedule_is_one() -> None:
    assert phase_at(TrainConfig(crop=192, batch=3), 0.3) == Phase(crop=192, batch=3)
    assert THREE.crops == {128, 256} and TrainConfig().crops == {128}


def test_rates_warm_up_then_fall_to_a_hundredth_of_their_peak() -> None:
    config = TrainConfig(steps=1000, warmup=10, phases=(Phase(), Phase(lr_scale=0.5)))
    assert lr_factor(config, 0, 0) == pytest.approx(0.1)
    assert lr_factor(config, 9, 0) == pytest.approx(1)
    assert lr_factor(config, 499, 0.4999) == pytest.approx(2 * lr_factor(config, 500, 0.5), rel=1e-3)
    assert lr_factor(config, 1000, 1) == pytest.approx(0.005)


def test_flags_for_crop_and_batch_hold_in_every_phase() -> None:
    changed = with_crop_and_batch(THREE, 64, None)
    assert changed.crops == {64}
    assert [phase_at(changed, at).batch for at in (0, 0.5, 0.75)] == [6, 2, 6]
    with pytest.raises(ConfigError, match="crop 100 is no multiple of 64"):
        with_crop_and_batch(THREE, 100, None)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"share": 0}, "must be positive"),
        ({"batch": 0}, "must be positive"),
        ({"crop": 100}, "crop 100 is no multiple of 64"),
        ({"crop": 128, "distortion": "ms_ssim"}, "MS-SSIM needs at least 161 pixels"),
        ({"visual_share": 1.5}, "visual_share 1.5: a share of 0..1"),
        ({"crop": 192, "distortion": "ms_ssim", "visual_share": 0.5}, "in a phase whose distortion is mse"),
        ({"gain_profile": 7}, "gain_profile 7 must lie in 0..6"),
        ({"context": "no way"}, "phases[0].context: expected true or false"),
        ({"rounding": "soft"}, "phases[0].rounding: unknown value 'soft'"),
        ({"crops": 256}, "phases[0].crops: unknown key; did you mean 'crop'"),
    ],
)
def test_an_impossible_phase_is_refused(phase: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(TrainConfig, {"phases": [phase]}, "x.yaml")
    assert message in str(error.value) and str(error.value).startswith("x.yaml: ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"graphics_share": 0.7, "recolour_share": 0.4},
            "graphics_share and recolour_share (0.7, 0.4) must lie in 0..1",
        ),
        ({"recolour_share": -0.1}, "must lie in 0..1"),
        ({"cost_max": 0}, "cost_max 0 must be positive"),
    ],
)
def test_an_impossible_mix_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(TrainConfig, settings, "x.yaml")
    assert message in str(error.value) and str(error.value).startswith("x.yaml: ")


def test_a_schedule_survives_its_mapping() -> None:
    assert build(TrainConfig, to_mapping(THREE)) == THREE
    assert override(THREE, {"lr": "1e-5"}).phases == THREE.phases


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_schedule_opens_with_its_command(name: str) -> None:
    first = (config_folder() / "train" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ") and f"--schedule {name} " in first
    assert named_schedule(name).phases


def test_shipped_schedules_are_there_by_name() -> None:
    assert {"cpu", "h200", "paper"} <= set(SHIPPED)
    with pytest.raises(
        ConfigError,
        match=r"nope: no such schedule; there are cpu, cpu-broad, cpu-ms-ssim, cpu-visual, .*, or name a \.yaml file",
    ):
        named_schedule("nope")


def test_the_papers_schedule_is_the_papers() -> None:
    config = named_schedule("paper")
    early, late = phase_at(config, 0.6), phase_at(config, 0.7)
    assert (early.crop, late.crop, early.batch) == (256, 384, 16)
    assert config.steps * 12 / 18 == 1.2e6 and config.lr == config.lr_transform == 1e-4


def test_the_quarter_of_an_hour_compiles_one_shape_and_exports_every_two_minutes() -> None:
    config = named_schedule("h200")
    assert config.precision == "bf16" and config.compile and config.validate_every <= 120
    assert len(config.crops) == len(config.batches) == 1 and config.graphics_share > 0


def test_a_schedule_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("steps: 7\nphases: [{share: 1, crop: 64}]\n")
    assert named_schedule(str(tmp_path / "mine.yaml")).crops == {64}
