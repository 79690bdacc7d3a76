"""What a study's YAML may say: every mistake is named with its mend, before anything is encoded."""

from pathlib import Path

import pytest

from codec.config_files import config_folder
from codec.errors import ConfigError
from jobs.tuning.space import StudyConfig, load_study
from rdo import effort

HEAT = "search:\n  temperature_bits: {low: 0, high: 2}\n"


def study(folder: Path, text: str) -> StudyConfig:
    (folder / "mine.yaml").write_text(text)
    return load_study(str(folder / "mine.yaml"))


@pytest.mark.parametrize("path", sorted((config_folder() / "tune").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies_open_with_the_command_that_uses_them(path: Path) -> None:
    assert load_study(path.stem) == load_study(str(path))
    assert f"rdo-tune {path.stem} photos/ -o study/" in path.read_text().splitlines()[0]


def test_the_papers_search_is_the_papers() -> None:
    paper = load_study("paper")
    low, high = (paper.search["lr_end"].low or 0) ** (1 / 26), (paper.search["lr_end"].high or 0) ** (1 / 26)
    assert (round(low, 3), round(high, 3)) == (0.5, 0.7)  # gamma
    recipe = paper.recipe({"lr_y": 0.06, "lr_end": 1e-6})
    assert (recipe.method, recipe.iters, recipe.lr_fall) == ("ste", 26, "geometric")
    assert recipe.lr_z == recipe.lr_y == 0.06


def test_values_have_the_types_of_their_settings(folder: Path) -> None:
    text = "search:\n  iters: {low: 2, high: 9}\n  beta2: [0.9, 1e-3]\n  time_budget: [null, 2]\n  method: [ste, sga]\n"
    config = study(folder, text)
    assert config.is_whole("iters") and not config.is_whole("beta2")
    assert config.choices("beta2") == [0.9, 1e-3]
    assert config.choices("time_budget") == [None, 2.0]
    assert config.choices("method") == ["ste", "sga"]


def test_a_recipe_is_written_in_four_digits(folder: Path) -> None:
    config = study(folder, HEAT + "fixed: {iters: 7}\n")
    assert (
        config.recipe({"temperature_bits": 1.23456}).temperature_bits == 1.235
        and config.recipe({"temperature_bits": 1.0}).iters == 7
    )


def test_presets_take_part_where_they_lie_in_the_space(folder: Path) -> None:
    grid = study(folder, "search:\n  temperature_bits: {low: 0, high: 2, step: 0.25}\nfixed: {iters: 40}\n")
    assert grid.presets() == [{"temperature_bits": effort(5).temperature_bits}]
    assert study(folder, HEAT + "fixed: {iters: 41}\n").presets() == []
    seen = study(folder, "tune: visual\nsearch:\n  lr_y: {low: 0.001, high: 1}\nfixed: {iters: 40}\n")
    assert seen.presets() == [], "its other settings are not those of the preset"
    assert load_study("visual").presets() == [
        {key: getattr(effort(5, "visual-"), key) for key in load_study("visual").search}
    ]
    assert (
        study(folder, "search:\n  temperature_bits: {low: 0.1, high: 4.1, step: 0.8}\n").presets() == []
    )  # beside the grid
    assert study(folder, f"search:\n  temperature_bits: [0.25, {effort(5).temperature_bits}]\n").presets() == [
        {"temperature_bits": effort(5).temperature_bits}
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("serch: {}\n", "mine.yaml: serch: unknown key; did you mean 'search'"),
        (
            "search:\n  temprature_bits: {low: 0, high: 1}\n",
            "mine.yaml: search: temprature_bits: unknown key; did you mean 'temperature_",
        ),
        (
            "search:\n  temperature_bits: {lwo: 0, high: 1}\n",
            "search.temperature_bits.lwo: unknown key; did you mean 'low'",
        ),
        ("search:\n  temperature_bits: {low: 0, high: 1, also: [lr]}\n", "search: lr: unknown key; did you mean 'lr_"),
        (HEAT + "fixed: {iter: 3}\n", "fixed.iter: unknown key; did you mean 'iters'"),
        (HEAT + "fixed: {temperature_bits: 1}\n", "temperature_bits: given twice"),
        ("search:\n  lr_y: {low: 1, high: 2, also: [lr_z]}\n  lr_z: [1]\n", "lr_z: given twice"),
        ("search:\n  temperature_bits: {low: -1, high: 1}\n", "search: temperature_bits -1.0: must be at least 0"),
        ("search:\n  method: [ste, sgd]\n", "method: unknown value 'sgd'; did you mean 'sga'"),
        ("search:\n  iters: {low: 1.5, high: 3}\n", "iters: expected a whole number, got 1.5"),
        ("search:\n  method: {low: 1, high: 3}\n", "method: expected text, got 1.0"),
        ("search:\n  temperature_bits: {low: 2, high: 1}\n", "low 2.0, high 1.0: give low below high"),
        ("search:\n  temperature_bits: []\n", "or a list of choices"),
        ("search:\n  temperature_bits: {low: 0, high: 1, log: true}\n", "log needs a positive low"),
        ("search:\n  temperature_bits: {low: 0, high: 1, step: 0.3}\n", "in whole steps"),
        ("search:\n  temperature_bits: {choices: [1], log: true}\n", "choices have no"),
        ("search:\n  temperature_bits: 3\n", "search.temperature_bits: expected a mapping, got 3"),
        ("search: {}\n", "nothing to search"),
        ("crop: 3\n", "search: missing key"),
        ("search:\n  iters: {low: 10, high: 20, step: 2.5}\n", "search.iters: step 2.5: must be a whole number"),
        (HEAT + "objectives: [gain]\n", "unknown value 'gain'; did you mean 'gain_percent'"),
        (HEAT + "objectives: [seconds]\n", "objectives: gain_percent, or"),
        (HEAT + "qualities: []\n", "qualities: name at least one"),
        (HEAT + "holdout: 1\n", "holdout 1.0: must lie in"),
        (HEAT + "crop: 0\n", "crop 0: must be at least 1 px"),
    ],
)
def test_mistakes_are_named(folder: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        study(folder, text)
    assert message in str(caught.value) and "mine.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_studies_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"papr: no such study; there are front, ms-ssim, paper, rdoq"):
        load_study("papr")
    with pytest.raises(ConfigError, match=r"papr\.yaml: cannot be read"):
        load_study("papr.yaml")
