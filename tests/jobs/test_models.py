"""`rdo-models`: what is installed, what its card says, and whether a file is the one it should be."""

import json
from pathlib import Path

import pytest

from codec.checkpoint import file_sha256, installed_models
from codec.identity import model_id
from codec.loading import load
from jobs.models import main


def test_the_installed_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert "Kodak" in head and [line.split()[0] for line in lines] == list(installed_models())
    small = next(line for line in lines if line.startswith("small "))
    assert model_id(load("small")).hex() in small and "% BD-rate on VTM-18.0" in small


def test_the_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert set(first) == {"model", "file", "parameters", "model_id", "card"}
    assert first["card"]["model_id"] == first["model_id"] and first["card"]["parameters"] == first["parameters"]


def test_a_card_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", "small"]) == 0
    assert "licences:" in capsys.readouterr().out
    assert main(["--json", "card", "small"]) == 0
    assert json.loads(capsys.readouterr().out)["kodak"][0]["quality"] == 1


def test_installed_models_are_what_their_cards_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    assert file_sha256(installed_models()["small"]) in capsys.readouterr().out


def test_a_file_is_held_against_its_hash(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    digest = file_sha256(Path(model))
    assert main(["verify", model, "--sha256", digest]) == 0
    assert f"{digest} (as asked), tiny, id " in capsys.readouterr().out
    assert main(["verify", model]) == 0
    assert "no card and no --sha256" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "{model}", "--sha256", "00"], "expected 00: another file, or damaged: fetch it again"),
        (["verify", "nonesuch"], "nonesuch: no such model or file"),
        (["card", "nonesuch"], "nonesuch: no such model or file"),
        (["card", "{model}"], "no card beside it: tiny.yaml is missing"),
    ],
)
def test_errors_are_a_line_and_status_2(
    model: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(model=model) for argument in arguments]) == 2
    told = capsys.readouterr()
    assert message in told.err and told.err.count("\n") == 1 and not told.out


def test_a_model_altered_after_its_installation_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = installed_models()["small"]
    copy = tmp_path / small.name
    data = small.read_bytes()
    copy.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    copy.with_suffix(".yaml").write_text(small.with_suffix(".yaml").read_text())
    monkeypatch.setattr("codec.checkpoint.installed_models", lambda: {"small": copy})
    assert main(["verify"]) == 1
    assert "not what its card says: sha256 is" in capsys.readouterr().err
