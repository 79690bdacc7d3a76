"""What README.md and the pages of the rooms show works: its Python runs, its command lines are understood."""

import argparse
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README, *((ROOT / room / "README.md").read_text(encoding="utf-8") for room in ("codec", "rdo", "jobs"))]
LINES = list(dict.fromkeys(line for page in PAGES for line in re.findall(r"`(rdo-[a-z]+(?: [^`]+)?)`", page)))


def parser_of(command: str) -> argparse.ArgumentParser:
    module = import_module(f"jobs.{command.removeprefix('rdo-')}")
    return module.build_parser()  # type: ignore[no-any-return]


def test_its_python_runs(tmp_path: Path, photo, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    [program] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "iters=40" in program
    Image.fromarray(photo(64, 64)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(program.replace("iters=40", "iters=2"), names)  # README's own
    assert Path("photo.rdo").read_bytes() == names["data"]


def test_its_imports_are_quiet() -> None:
    program = "import codec, rdo; codec.load, rdo.refine"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_there_are_lines() -> None:
    assert len(LINES) >= 20 and {line.split()[0] for line in LINES} >= {"rdo-encode", "rdo-decode", "rdo-compare"}


@pytest.mark.parametrize("line", LINES)
def test_its_command_lines_are_understood(line: str) -> None:
    command, *flags = shlex.split(line)
    if flags:  # else the command is only named
        parser_of(command).parse_args(flags)


@pytest.mark.parametrize("command", sorted({line.split()[0] for line in LINES}))
def test_examples_of_its_commands_are_understood(command: str) -> None:
    parser = parser_of(command)
    shown = [line for line in (parser.epilog or "").splitlines() if line.startswith(f"  {command}")]
    assert shown
    for line in shown:
        example = re.split(r" {2,}| [<>] ", line.strip())[0]
        parser.parse_args(shlex.split(example)[1:])
