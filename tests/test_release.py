"""A release: every package and data file of the project is in the wheel, and nothing else is."""

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("codec", "rdo", "jobs", "configs")
NOT_SHIPPED = {".md", ".ipynb", ".pyc"}  # read in the checkout
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def shipped() -> set[str]:
    """Files of the project that its users need, as paths from the root."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if path.suffix not in NOT_SHIPPED}


def declared() -> set[str]:
    """Files that pyproject.toml names, by package and by pattern."""
    settings = PROJECT["tool"]["setuptools"]
    folders = {package: ROOT / package.replace(".", "/") for package in settings["packages"]}
    patterns = [(folder, "*.py") for folder in folders.values()]
    patterns += [(folders[package], glob) for package, globs in settings["package-data"].items() for glob in globs]
    return {path.relative_to(ROOT).as_posix() for folder, glob in patterns for path in folder.glob(glob)}


def test_every_file_is_declared() -> None:
    assert "codec/weights/small.safetensors" in declared() and "configs/refine/effort-5.yaml" in declared()
    assert declared() == shipped()


def test_commands_are_functions_that_exist() -> None:
    for target in PROJECT["project"]["scripts"].values():
        module, _, function = target.partition(":")
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert f"\ndef {function}(" in source, target


@pytest.mark.slow
def test_the_wheel_holds_them_and_its_metadata(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="builds the wheel without downloading it")
    for name in ("pyproject.toml", "README.md"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for name in PACKAGES:  # links, as the build must not write into the checkout
        (tmp_path / name).symlink_to(ROOT / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [path] = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = next(wheel.read(name) for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert names == shipped()
    found = Parser().parsestr(metadata.decode())
    assert (found["Name"], found["Version"]) == (PROJECT["project"]["name"], PROJECT["project"]["version"])
    assert found["Description-Content-Type"] == "text/markdown"
    assert set(found.get_all("Provides-Extra")) == set(PROJECT["project"]["optional-dependencies"])
    assert path.stat().st_size < 100e6  # what package indexes accept
