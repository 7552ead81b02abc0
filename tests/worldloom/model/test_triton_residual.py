"""The kernels compute the formulas, and their gradients."""

import pytest
import torch
from interpreted import require_equal
from torch import nn

from worldloom.model.residual import added, modulated

PROGRAM = """
import torch
from torch import nn
from worldloom.model import residual
generator = torch.Generator().manual_seed(0)
draw = lambda *shape: torch.randn(*shape, generator=generator)
formulas, kernels = (lambda *values: False), (lambda *values: True)
for B, T, P, E in ((2, 3, 5, 12), (1, 2, 70, 9), (2, 1, 8, 16)):
    of_modulation = lambda: draw(B, T, 6, E)
    L = T * P
    norm = nn.LayerNorm(E, elementwise_affine=False, eps=1e-6)
    cases = {
        "modulated": (lambda x, m: residual.modulated(norm, x, m[:, :, 1], m[:, :, 3]),
                      (draw(B, L, E) + 1, of_modulation())),
        "added": (lambda x, y, m: residual.added(x, y, m[:, :, 2]),
                  (draw(B, L, E), draw(B, L, E), of_modulation())),
        "added with camera": (lambda x, y, m, s, t: residual.added(x, y, m[:, :, 2], (s, t)),
                              (draw(B, L, E), draw(B, L, E), of_modulation(),
                               draw(B, L, E), draw(B, L, E))),
    }
    for name, (compute, inputs) in cases.items():
        answers = []
        back = None
        for serves in (formulas, kernels):
            residual._has_kernels = serves
            own = [value.clone().requires_grad_() for value in inputs]
            out = compute(*own)
            back = draw(*out.shape) if back is None else back
            answers.append([out.detach(), *torch.autograd.grad(out, own, back)])
        for one, other in zip(*answers, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
print("equal")
"""


@pytest.mark.slow
def test_the_kernels_compute_the_formulas_and_their_gradients():
    require_equal(PROGRAM)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: kernels run on one")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_they_answer_as_the_cpu_does(dtype):
    def draw(*shape, seed):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)

    values = [draw(2, 180, 192, seed=seed) for seed in range(4)]
    of_latents = [draw(2, 3, 192, seed=seed) for seed in range(4, 7)]
    norm = nn.LayerNorm(192, elementwise_affine=False, eps=1e-6)

    def answers(device, dtype):
        x, answer, scale, shift = (
            one.to(device, dtype).detach().requires_grad_() for one in values
        )
        a, b, gate = (one.to(device, dtype).detach().requires_grad_() for one in of_latents)
        normed = modulated(norm, x, a, b)
        out = added(normed, answer, gate, (scale, shift))
        out.float().square().mean().backward()
        parts = (x, answer, scale, shift, a, b, gate)
        return [out.detach(), *(one.grad for one in parts)]

    wanted = answers("cpu", torch.float32)
    for one, other in zip(answers("cuda", dtype), wanted, strict=True):
        distance = (one.float().cpu() - other).norm() / other.norm()
        assert distance < (1e-5 if dtype == torch.float32 else 2e-2)
