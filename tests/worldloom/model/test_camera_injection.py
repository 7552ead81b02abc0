import torch
import torch.nn.functional as F

from worldloom.model.camera_injection import CameraInjector, RayEmbedding


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomized(module):
    torch.manual_seed(1)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def test_a_fresh_injector_neither_scales_nor_shifts():
    scale, shift = CameraInjector(8)(draw(2, 3, 8))
    assert scale.shape == shift.shape == (2, 3, 8)
    assert not scale.any()
    assert not shift.any()


def test_scale_and_shift_are_linear_in_rays_with_their_correction():
    """h = P + W2 SiLU(W1 P); scale = Ws h, shift = Wb h."""
    injector, rays = randomized(CameraInjector(8)), draw(1, 3, 8)
    hidden = rays + injector.outer(F.silu(injector.inner(rays)))
    scale, shift = injector(rays)
    torch.testing.assert_close(scale, hidden @ injector.scale.weight.T + injector.scale.bias)
    torch.testing.assert_close(shift, hidden @ injector.shift.weight.T + injector.shift.bias)
    assert (scale - shift).abs().max() > 0.1


def test_embedded_rays_keep_their_projection_beside_the_correction():
    embedding, rays = randomized(RayEmbedding(12, 8)), draw(1, 3, 12)
    projected = embedding.patch(rays)
    expected = projected + embedding.outer(F.silu(embedding.inner(projected)))
    torch.testing.assert_close(embedding(rays), expected)
    embedding.outer.weight.data.zero_()
    embedding.outer.bias.data.zero_()
    torch.testing.assert_close(embedding(rays), projected)


def test_each_token_has_its_own_camera():
    embedding, injector = randomized(RayEmbedding(12, 8)), randomized(CameraInjector(8))
    rays = draw(1, 3, 12)
    changed = rays.clone()
    changed[:, 1] += 1
    before, after = (torch.stack(injector(embedding(given))) for given in (rays, changed))
    differs = (before - after).abs().amax(dim=(0, 1, 3)) > 1e-3
    assert differs.tolist() == [False, True, False]
