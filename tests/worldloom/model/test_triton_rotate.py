"""The kernel turns as the formula does, and its gradient turns back."""

import pytest
import torch
from interpreted import require_equal

from worldloom.model.rope import rotate

PROGRAM = """
import torch
from worldloom.model.rope import rotate
from worldloom.model.triton_rotate import turn_pairs
generator = torch.Generator().manual_seed(0)
draw = lambda *shape: torch.randn(*shape, generator=generator)
for samples, tokens, heads, pairs, shared in ((2, 5, 3, 4, (2, 3)), (1, 9, 1, 8, (1, 1)),
                                              (3, 7, 2, 3, (1, 1)), (2, 11, 6, 2, (2, 1))):
    angles = draw(shared[0], tokens, shared[1], pairs)
    turn = (angles.cos(), angles.sin())
    plain = draw(samples, tokens, heads, 2 * pairs)
    swapped = draw(samples, heads, tokens, 2 * pairs).transpose(1, 2)
    for x in (plain, swapped, draw(samples, tokens, heads, 4 * pairs)[..., ::2]):
        for inverse in (False, True):
            one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
            found = turn_pairs(one, *turn, inverse=inverse)
            wanted = rotate(other, turn, inverse=inverse)
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
            back = draw(*wanted.shape)
            (found,) = torch.autograd.grad(found, one, back)
            (wanted,) = torch.autograd.grad(wanted, other, back)
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
print("equal")
"""


@pytest.mark.slow
def test_the_kernel_turns_as_the_formula_does():
    require_equal(PROGRAM)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the kernel runs on one")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_it_turns_in_the_tokens_own_precision(dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 60, 6, 32, generator=generator)
    angles = torch.randn(4, 60, 6, 16, generator=generator)
    wanted = rotate(x.to(dtype).float(), (angles.cos(), angles.sin()))
    found = rotate(x.to(dtype).cuda(), (angles.cos().cuda(), angles.sin().cuda()))
    assert found.dtype == dtype
    torch.testing.assert_close(found.cpu(), wanted.to(dtype))
