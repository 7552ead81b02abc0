"""The residual stream's formulas, number by number."""

import torch
from torch import nn

from worldloom.model.residual import added, modulated

B, T, P, E = 2, 3, 4, 5


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_each_latents_tokens_are_modulated_by_its_own_scale_and_shift():
    x, scale, shift = draw(B, T * P, E), draw(B, T, E, seed=1), draw(B, T, E, seed=2)
    found = modulated(nn.LayerNorm(E, elementwise_affine=False), x, scale, shift)
    for b, t, p in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        token = x[b, t * P + p]
        normed = (token - token.mean()) / (token.var(correction=0) + 1e-5).sqrt()
        wanted = normed * (1 + scale[b, t]) + shift[b, t]
        torch.testing.assert_close(found[b, t * P + p], wanted)


def test_an_answer_is_added_by_its_latents_gate():
    x, answer, gate = draw(B, T * P, E), draw(B, T * P, E, seed=1), draw(B, T, E, seed=2)
    found = added(x, answer, gate)
    for b, t, p in ((0, 0, 0), (1, 2, 3)):
        row = t * P + p
        torch.testing.assert_close(found[b, row], x[b, row] + gate[b, t] * answer[b, row])


def test_the_camera_speaks_after_the_answer():
    x, answer, gate = draw(B, T * P, E), draw(B, T * P, E, seed=1), draw(B, T, E, seed=2)
    scale, shift = draw(B, T * P, E, seed=3), draw(B, T * P, E, seed=4)
    wanted = added(x, answer, gate) * (1 + scale) + shift
    torch.testing.assert_close(added(x, answer, gate, (scale, shift)), wanted)
