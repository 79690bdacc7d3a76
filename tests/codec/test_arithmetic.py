"""Switches of torch's precision: set for the time of coding, restored after it, errors or not."""

import subprocess
import sys

import pytest
import torch

from codec.arithmetic import coding_arithmetic
from codec.errors import BitstreamError


@pytest.mark.parametrize("fails", [False, True])
def test_coding_arithmetic_leaves_every_switch_as_it_was(fails: bool) -> None:
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = matmul.fp32_precision, conv.fp32_precision
    try:
        matmul.fp32_precision, conv.fp32_precision = "tf32", "none"
        with torch.autocast("cpu", torch.bfloat16):
            try:
                with coding_arithmetic():
                    assert not torch.is_grad_enabled()
                    assert matmul.fp32_precision == conv.fp32_precision == "ieee"
                    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
                    if fails:
                        raise BitstreamError("within")
            except BitstreamError:
                pass
            assert torch.is_grad_enabled() and (matmul.fp32_precision, conv.fp32_precision) == ("tf32", "none")
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    finally:
        matmul.fp32_precision, conv.fp32_precision = before


@pytest.mark.parametrize("set_as", ["allow_tf32", "fp32_precision"])
def test_however_tf32_was_asked_for_files_are_written(set_as: str) -> None:
    value = {"allow_tf32": True, "fp32_precision": "tf32"}[set_as]
    program = f"""
import torch
from codec.arithmetic import coding_arithmetic
torch.backends.cuda.matmul.{set_as} = {value!r}
with coding_arithmetic():
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
assert torch.backends.cuda.matmul.{set_as} == {value!r}
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
