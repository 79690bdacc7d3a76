"""The layers jobs -> rdo -> codec, and one owner for each outside dependency, held by reading every import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("codec", "rdo", "jobs")
FORBIDDEN = {"codec": {"rdo", "jobs"}, "rdo": {"jobs"}, "jobs": set()}
OWNERS = {
    "constriction": {"codec/bitstream/range_coder.py"},
    "PIL": {"codec/images/read.py", "codec/images/formats.py"},
    "yaml": {"codec/settings.py"},
    "skimage": {"jobs/demo.py"},
    "ray": {"jobs/pools/ray.py"},
    "optuna": {"jobs/tuning/study.py", "jobs/tuning/open_study.py"},
    "matplotlib": {"jobs/measuring/plot.py"},
}


def imported(source: str, package: str = "") -> set[str]:
    """Top-level names of everything that source imports, inside functions too; `from . import` is its own package."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(package if node.level else str(node.module).partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "import_module",
            "importlib.import_module",
        ):
            names |= {str(a.value).partition(".")[0] for a in node.args[:1] if isinstance(a, ast.Constant)}
    return names


SOURCES = {
    path.relative_to(ROOT).as_posix(): imported(path.read_text(encoding="utf-8"), package)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import a.b, c as d
from e.f import g
from . import h
def lazy():
    if True:
        import i
        importlib.import_module("j.k")
"""
    assert imported(source, "own") == {"a", "c", "e", "own", "i", "j"}


def test_every_package_is_read() -> None:
    assert {name.partition("/")[0] for name in SOURCES} == set(PACKAGES)
    assert "torch" in SOURCES["codec/model.py"] and "codec" in SOURCES["rdo/refinement.py"]


@pytest.mark.parametrize("name", SOURCES)
def test_imports_point_down_only(name: str) -> None:
    upward = SOURCES[name] & FORBIDDEN[name.partition("/")[0]]
    assert not upward, f"{name} imports {', '.join(sorted(upward))}: jobs -> rdo -> codec, never back"


@pytest.mark.parametrize("dependency", OWNERS)
def test_one_file_owns_each_dependency(dependency: str) -> None:
    users = {name for name, names in SOURCES.items() if dependency in names}
    assert users <= OWNERS[dependency], f"{dependency} belongs to {', '.join(sorted(OWNERS[dependency]))}"


@pytest.mark.parametrize("dependency", ["constriction", "PIL", "yaml", "optuna", "matplotlib"])
def test_owners_exist(dependency: str) -> None:
    assert all(dependency in SOURCES[owner] for owner in OWNERS[dependency])
