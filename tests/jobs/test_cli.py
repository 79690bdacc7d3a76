"""The commands as processes: quick help, a pipe, signals; and what needs no process of its own."""

import argparse
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from codec.bitstream.container import unpack
from codec.coding import decode
from codec.errors import ConfigError
from jobs import cli
from jobs.record import read_records
from jobs.runtime import check_device, flag_on_signal

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
COMMANDS = ("encode", "decode", "info", "train", "tune")
HELP = """
import sys, time
for name in sys.argv[1:]:
    try:
        __import__(f"jobs.{name}", fromlist=["main"]).main(["--help"])
    except SystemExit as stopped:
        assert stopped.code == 0
assert time.process_time() < 2
print(sorted({"torch", "PIL", "numpy", "compressai"} & set(sys.modules)))
"""


def command(name: str, *arguments: str) -> list[str]:
    code = f"import sys; from jobs.{name} import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-W", "error", "-W", "ignore::FutureWarning", "-c", code, *arguments]


def test_help_is_quick_and_shows_examples() -> None:
    done = subprocess.run([sys.executable, "-c", HELP, *COMMANDS], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n"), "help imported what is slow to import"
    for name in COMMANDS:
        assert f"usage: rdo-{name}" in done.stdout and f"\n  rdo-{name} " in done.stdout


@pytest.mark.parametrize(
    "name", ("encode", "decode", "compare", "view", "info", "tune", "models", "demo", "train", "bench")
)
def test_help_tells_each_default_once_and_no_empty_ones(name: str) -> None:
    def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from (found for each in action.choices.values() for found in parsers(each))

    for parser in parsers(import_module(f"jobs.{name}").build_parser()):
        text = " ".join(parser.format_help().split())
        assert "(default: [])" not in text and "(default: None)" not in text
        assert not re.search(r"\(default[^()]*\) \(default", text)


@pytest.mark.parametrize(
    ("wrong", "hint"), [("--itres", "did you mean --iters?"), ("--qualty=5", "did you mean --quality?"), ("--xyz", "")]
)
def test_a_misspelt_flag_gets_the_nearest(wrong: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    from jobs.encode import build_parser

    with pytest.raises(SystemExit) as stopped:
        build_parser().parse_args([wrong, "a.png"])
    last = capsys.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2 and wrong in last and last.endswith(hint)
    assert ("did you mean" in last) == bool(hint)


def test_scripts_of_the_package_exist() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) >= {f"rdo-{name}" for name in COMMANDS}
    for target in scripts.values():
        module, function = target.split(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.slow
def test_a_picture_through_a_pipe(save_photo, model, codec, pixels_of) -> None:
    source = save_photo("a.png", 30, 44)
    done = subprocess.run(
        command("encode", "--model", model, "--iters", "2", "-"),
        input=source.read_bytes(), env=ENVIRONMENT, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0 and b"Warning" not in done.stderr, done.stderr.decode()
    assert decode(codec, done.stdout).pixels.data.shape == pixels_of(source).shape


@pytest.mark.slow
def test_sigterm_ends_a_run_with_whole_files_only(save_photo, model, folder: Path) -> None:
    for i in range(40):
        save_photo(f"in/{i}.png", 20, 20, seed=i)
    arguments = ["--model", model, "--iters", "100000", "--time-budget", "0.3", "in"]
    process = subprocess.Popen(
        command("encode", *arguments), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    log = folder / "rdo-out/results.jsonl"
    deadline = time.monotonic() + 90
    while len(read_records(log)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    out, told = process.communicate(timeout=60)
    assert process.returncode == 130, told.decode()
    assert b"interrupted" in told and b"Traceback" not in told and out == b""
    files = [p for p in (folder / "rdo-out").iterdir() if p != log]
    assert 3 <= len(files) < 40 and all(p.suffix == ".rdo" and unpack(p.read_bytes()) for p in files)
    assert {r.output for r in read_records(log)} <= {str(p.relative_to(folder)) for p in files}


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (None, 0, ""),
        (ConfigError("quality 9: lower it"), 2, "error: quality 9: lower it\n"),
        (FileNotFoundError(2, "No such file or directory", "x.png"), 1, "error: x.png: No such file or directory: "),
        (KeyboardInterrupt(), 130, "interrupted: what was finished is kept\n"),
    ],
)
def test_statuses(error: BaseException | None, status: int, text: str, capsys) -> None:
    def work() -> int:
        if error:
            raise error
        return 0

    assert cli.guarded(work) == status
    assert capsys.readouterr().err.startswith(text)


def test_a_reader_that_leaves_ends_the_run_quietly() -> None:
    script = "from jobs import cli; cli.guarded(lambda: [print('line', flush=True) for _ in range(10**5)] and 0)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr and process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""


def test_our_own_mistakes_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.guarded(lambda: 1 // 0)


def test_sigterm_is_an_interruption(capsys) -> None:
    def work() -> int:
        os.kill(os.getpid(), 15)
        time.sleep(5)
        return 0

    assert cli.guarded(work) == 130


@pytest.mark.parametrize("number", [2, 15])
def test_a_flag_is_set_and_nothing_cut(number: int) -> None:
    flag = flag_on_signal()
    assert not flag.is_set()
    os.kill(os.getpid(), number)
    assert flag.wait(5)


@pytest.mark.parametrize("device", ["nonesuch", "cuda:99"])
def test_devices_that_are_not_there(device: str) -> None:
    assert check_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match=f"--device {device}: not usable here: "):
        check_device(device)
