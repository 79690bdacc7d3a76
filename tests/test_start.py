"""Start-up: importing the packages loads little beyond torch, prints no warning, and never touches CompressAI."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SLOW = ("compressai", "scipy", "matplotlib", "torchvision", "torch._dynamo", "sympy", "PIL", "optuna", "ray", "skimage")
CODE = f"""
import sys
import torch
before = set(sys.modules)
import codec, rdo
codec.load, codec.encode, codec.decode, rdo.refine, rdo.RefineConfig
print(sorted(set({SLOW}) & set(sys.modules) - before))
"""


def test_imports_load_nothing_slow_and_are_quiet() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", CODE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("[]\n", "")
