"""Entry points: flags end where a command parses them, and no command runs another."""

import ast
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[2] / "jobs"
COMMANDS = ("compare", "demo", "bench", "tune", "info", "models")


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("path", [JOBS / f"{name}.py" for name in COMMANDS], ids=lambda path: path.stem)
def test_no_command_imports_another(path: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    modules = {str(node.module) for node in imports}
    modules |= {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
    assert not modules & {f"jobs.{command.stem}" for command in JOBS.glob("*.py") if has_main(command)}


def has_main(path: Path) -> bool:
    return any(function.name == "main" for function in functions(path))


@pytest.mark.parametrize(
    "path",
    [
        *(JOBS / f"{name}.py" for name in COMMANDS),
        *(path for room in ("comparing", "tuning", "measuring") for path in sorted((JOBS / room).glob("*.py"))),
    ],
    ids=lambda path: f"{path.parent.stem}/{path.stem}",
)
def test_only_parse_reads_flags(path: Path) -> None:
    """A namespace that main has parsed is turned into settings by `parse`, and nothing makes one."""
    taking = [f.name for f in functions(path) if any("Namespace" in ast.unparse(a) for a in f.args.args)]
    assert taking in ([], ["parse"])
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [call for call in calls if ast.unparse(call.func).endswith("Namespace")]
