"""The INT8 kernel's sums are exact; it is interpreted in a process of its own."""

import pytest
from interpreted import require_equal

PROGRAM = """
import torch
from worldloom.quantize.rows import quantize_rows
from worldloom.quantize.triton_int8 import _int8_product
draw = lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))
for m, k, n, has_bias in ((37, 96, 40, True), (16, 40, 16, False)):
    (x, x_scale), (w, w_scale), bias = quantize_rows(draw(m, k)), quantize_rows(draw(n, k)), draw(n)
    out = torch.empty(m, n)
    _int8_product.fn[(-(-m // 16) * -(-n // 16),)](
        x, w, x_scale, w_scale, bias if has_bias else None, out, m, n, k, 6,
        HAS_BIAS=has_bias, BLOCK_M=16, BLOCK_N=16, BLOCK_K=32, GROUP_M=2)
    expected = (x.int() @ w.int().t()).float() * x_scale * w_scale[:, 0] + has_bias * bias
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)
print("equal")
"""


@pytest.mark.slow
def test_the_kernel_computes_the_layers_formula():
    require_equal(PROGRAM)
