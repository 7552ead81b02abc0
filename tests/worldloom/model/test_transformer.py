import dataclasses

import numpy as np
import pytest
import torch
from full_attention import Group, Walk, velocity
from golden_forward import (
    LAYOUTS,
    TOLERANCE,
    golden,
    small_transformer,
    small_velocity,
    stored_goldens,
)
from public_weights import public_weights
from reference_forward import Inputs, Shape, forward
from tiny import CONFIG, INTRINSICS, tiny_clips, tiny_transformer

from worldloom.actions import NUM_KEYS
from worldloom.camera import Intrinsics, cell_ray_maps, pose_matrix, ray_cells
from worldloom.frames import SegmentFrames
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.geometry import Geometry
from worldloom.model.transformer import SegmentConditions, WorldModelTransformer
from worldloom.rollout.reference_window import no_action, window_actions
from worldloom.rollout.segment import Conditioner, action_windows

REFERENCE = TransformerConfig(
    layout="reference",
    position="lattice",
    is_residual_normed=True,
    rope_jitter=0.8,
    has_place_embedding=False,
    translation="relative",
    latent_channels=6,
    latent_height=4,
    latent_width=6,
    spatial_stride=4,
    ray_samples=4,
    dim=64,
    num_blocks=3,
    num_heads=4,
    ffn_dim=80,
    num_action_blocks=2,
    action_dim=32,
    action_num_heads=2,
    action_key_dim=8,
    action_rotary_dim=8,
    text="umt5",
    num_text_blocks=3,
    text_dim=12,
    text_length=6,
)


def random_transformer(config, seed=0):
    """A transformer of random weights in which nothing is left at zero or one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = WorldModelTransformer(config)
        for parameter in transformer.parameters():
            scale = 0.3 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            parameter.data.add_(torch.randn_like(parameter) * scale)
    return transformer.eval()


def in_float64(transformer):
    """The same weights in float64, and the rotary tables as they are before any rounding."""
    return transformer.double()


@dataclasses.dataclass
class Window:
    """A window of the reference, as the published code gets it and as ours does."""

    theirs: Inputs
    latents: torch.Tensor
    sigma: torch.Tensor
    conditions: SegmentConditions


def reference_window(memory=(3, 40), first=61, is_first=None, config=REFERENCE):
    """Random inputs; without memory it is a first window, whose rows are 4 n + 1."""
    rng = np.random.default_rng(1)
    num_known, count = 2, 5
    is_first = not memory if is_first is None else is_first
    first = 0 if is_first else first
    num_frames = 4 * count - 3 if is_first else 4 * count
    shape = (config.latent_channels, count + len(memory), config.latent_height, config.latent_width)
    video = rng.standard_normal(shape)
    poses = np.tile(np.eye(4), (shape[1], 1, 1))
    poses[:, :3, :3] = np.linalg.qr(rng.standard_normal((shape[1], 3, 3)))[0]
    poses[:, :3, 3] = rng.standard_normal((shape[1], 3))
    camera = Intrinsics.reference(*config.frame_size)
    cells = ray_cells(camera, *config.frame_size, config.latent_height, config.latent_width)
    maps = cell_ray_maps(poses, cells).astype(np.float64)
    # Our row f + 1 is the published row f: what moves the camera from frame f to f + 1.
    ours = rng.standard_normal((num_frames, 8)).astype(np.float32)
    theirs = np.concatenate([ours[1:], ours[-1:]]).astype(np.float64)
    prompt = np.zeros((config.text_length, config.text_dim))
    prompt[:4] = rng.standard_normal((4, config.text_dim))
    timestep = 713.0
    start = 0 if is_first else 4 * first - 3
    frames = SegmentFrames(
        0 if is_first else 1, start, start + num_frames, first, first + count - 1, 0, (), (0, 0)
    )
    windows = window_actions(frames, ours, config.action_window_frames)
    windows = np.concatenate([no_action(len(memory), config.action_window_frames), windows])
    windows = torch.from_numpy(windows).double()[None]
    sigma = torch.zeros(1, shape[1], dtype=torch.float64)
    sigma[:, len(memory) + num_known :] = timestep / 1000
    numbers = torch.tensor([[*memory, *range(first, first + count)]])
    return Window(
        Inputs(
            latents=video[:, len(memory) :],
            memory=video[:, : len(memory)],
            timestep=timestep,
            num_known=num_known,
            rays=np.moveaxis(maps, 0, 1),
            keyboard=theirs[:, :NUM_KEYS],
            mouse=theirs[:, NUM_KEYS:],
            prompt=prompt[:4],
            memory_latents=tuple(memory),
            first_latent=first,
        ),
        torch.from_numpy(video)[None],
        sigma,
        SegmentConditions(
            rays=tokens_of_maps(maps, config),
            coordinates=Geometry(config, camera).lattice_coordinates(numbers).double(),
            keyboard=windows[..., :NUM_KEYS],
            mouse=windows[..., NUM_KEYS:],
            prompt=torch.from_numpy(prompt)[None],
            num_memory=len(memory),
        ),
    )


def tokens_of_maps(maps, config):
    """Return [1, T, P, R] of ray maps [T, R', H, W]: of a patch (channel, row, column)."""
    patch, rows, cols = config.patch_size, config.token_rows, config.token_cols
    cut = maps.reshape(*maps.shape[:2], rows, patch, cols, patch).transpose(0, 2, 4, 1, 3, 5)
    return torch.from_numpy(cut.reshape(1, len(maps), rows * cols, -1).copy())


def published(transformer, window):
    config = transformer.config
    shape = Shape(
        config.num_blocks,
        config.num_action_blocks,
        config.num_heads,
        config.action_num_heads,
        config.text_length,
    )
    return forward(public_weights(dict(transformer.named_parameters())), shape, window.theirs)


@torch.no_grad()
def ours(transformer, window, shift=0):
    conditions = window.conditions
    if shift:
        moved = conditions.coordinates.clone()
        moved[..., 0] += shift
        conditions = dataclasses.replace(conditions, coordinates=moved)
    prepared = transformer.prepare(conditions)
    velocity = transformer.denoise(window.latents, window.sigma, prepared)
    return velocity[0, :, conditions.num_memory :].numpy()


def relative_error(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("memory", [(3, 40), (), (0, 2040)])
def test_the_reference_layout_is_matrix_game_3s_forward(memory):
    transformer = in_float64(random_transformer(REFERENCE))
    window = reference_window(memory, first=2043)
    expected = published(transformer, window)
    assert np.abs(expected).max() > 0.1
    assert relative_error(ours(transformer, window), expected) < 1e-9


@pytest.mark.parametrize("memory", [(3, 40), ()])
def test_a_later_window_without_memory_reads_its_own_rows(memory):
    """The unconditional branch of guidance has no memory, and its rows are those of 4 n frames."""
    transformer = in_float64(random_transformer(REFERENCE))
    window = reference_window(memory, is_first=False)
    assert relative_error(ours(transformer, window), published(transformer, window)) < 1e-9


def test_latent_numbers_count_by_their_differences_alone_and_have_no_end():
    transformer = in_float64(random_transformer(REFERENCE))
    window = reference_window()
    here = ours(transformer, window)
    for shift in (-61, 17, 5_000_000):
        assert relative_error(ours(transformer, window, shift), here) < 1e-9
    moved = dataclasses.replace(
        window.conditions, coordinates=window.conditions.coordinates.clone()
    )
    moved.coordinates[:, : 2 * REFERENCE.tokens_per_latent_frame, 0] += 1  # memory alone
    other = ours(transformer, dataclasses.replace(window, conditions=moved))
    assert relative_error(other, here) > 1e-4


# Stream


REACHES = {
    "latent": CONFIG,
    "segment": CONFIG.model_copy(update={"reach": "segment"}),
    "window": CONFIG.model_copy(update={"reach": "window", "accepts_inexact_replay": True}),
}
CONDITIONER = Conditioner(CONFIG, INTRINSICS)
TOKENS = CONFIG.tokens_per_latent_frame
SEGMENTS = (range(1), range(1, 4), range(4, 7), range(7, 10))  # the last is noisy
# What each segment sees before it, as slots of memory and past; `sees` below is the same by rows.
SEEN = ((), (0,), (0, 1, 2, 3), (3, 0, 2, 5, 6))
SIGMA = 0.6


def transformer_of(reach):
    transformer = tiny_transformer()
    transformer.config = REACHES[reach]
    return transformer


def walk(seed=0, move=None):
    """Ten latents of a walk that turns and advances."""
    clips = tiny_clips(1, 3, seed)
    at = torch.arange(10)[None]
    poses = clips.poses[:, 4 * at[0]]
    return Walk(
        clips.latents.float().transpose(1, 2),
        poses if move is None else move @ poses,
        action_windows(clips.keyboard, at, CONFIG.action_window_frames),
        action_windows(clips.mouse, at, CONFIG.action_window_frames),
        torch.arange(CONFIG.text_length)[None] % 5,
    )


def windows_of(walk, latents):
    return walk.keyboard[:, latents], walk.mouse[:, latents]


def committed_one_by_one(transformer, walk, reach):
    """Keys and values [1, P, N, D] of each committed latent, by block, segment after segment."""
    by_latent = []
    for segment, seen in zip(SEGMENTS[:-1], SEEN, strict=False):
        parts = [range(i, i + 1) for i in segment] if reach == "latent" else [segment]
        for part in parts:
            args = (walk.poses[:, part], windows_of(walk, part), walk.prompt)
            context = None
            if reach == "window" and seen:
                anchor = walk.poses[:, segment.start - 1]
                conditions = CONDITIONER.noisy(args[0], anchor, *args[1:])
                context = context_of(walk, by_latent, seen, segment.start)
            else:
                conditions = CONDITIONER.clean(*args)
            prepared = transformer.prepare(conditions)
            blocks = transformer.commit(walk.latents[:, :, part], prepared, context)
            for index in range(len(part)):
                at = slice(index * TOKENS, (index + 1) * TOKENS)
                by_latent.append([BlockContext(b.keys[:, at], b.values[:, at]) for b in blocks])
    return by_latent


def context_of(walk, by_latent, seen, start, is_valid=None):
    blocks = [
        BlockContext(
            torch.cat([by_latent[latent][index].keys for latent in seen], dim=1),
            torch.cat([by_latent[latent][index].values for latent in seen], dim=1),
        )
        for index in range(CONFIG.num_blocks)
    ]
    ages = torch.tensor([[start - latent for latent in seen]]).expand(len(walk.poses), -1)
    return CONDITIONER.context(
        blocks, walk.poses[:, list(seen)], walk.poses[:, start - 1], ages, is_valid
    )


def noisy_conditions(walk):
    segment = SEGMENTS[-1]
    anchor = walk.poses[:, segment.start - 1]
    return CONDITIONER.noisy(walk.poses[:, segment], anchor, windows_of(walk, segment), walk.prompt)


def streamed(transformer, walk, reach="latent", seen=SEEN[-1], is_valid=None, conditions=None):
    """The velocity of the last segment by way of committed keys and values."""
    segment = SEGMENTS[-1]
    by_latent = committed_one_by_one(transformer, walk, reach)
    context = context_of(walk, by_latent, seen, segment.start, is_valid)
    prepared = transformer.prepare(conditions or noisy_conditions(walk))
    sigma = torch.full((len(walk.poses), len(segment)), SIGMA)
    return transformer.denoise(walk.latents[:, :, segment], sigma, prepared, context)


def groups_and_mask(walk, reach):
    """The same as groups of one sequence, and who sees whom."""
    groups = []
    sees = torch.zeros(10, 10, dtype=torch.bool)
    for segment, seen in zip(SEGMENTS, SEEN, strict=True):
        is_noisy = segment is SEGMENTS[-1]
        if reach == "latent" and not is_noisy:
            groups += [Group(range(i, i + 1), walk.poses[:, i], 0.0) for i in segment]
            sees[segment, segment] = True
            continue
        looks_back = is_noisy or (reach == "window" and bool(seen))
        anchor = walk.poses[:, segment.start - looks_back]
        groups.append(Group(segment, anchor, SIGMA if is_noisy else 0.0))
        keys = [*segment, *(seen if looks_back else ())]
        for query in segment:
            sees[query, keys] = True
    return groups, sees


@pytest.mark.parametrize("reach", REACHES)
@torch.no_grad()
def test_cached_attention_equals_full_attention_under_the_same_mask(reach):
    transformer, path = transformer_of(reach), walk()
    groups, sees = groups_and_mask(path, reach)
    whole = velocity(transformer, CONDITIONER, path, groups, sees)[:, :, list(SEGMENTS[-1])]
    cached = streamed(transformer, path, reach)
    assert whole.abs().max() > 0.1
    assert (cached - whole).abs().max() < 1e-5
    sees[7:, 2] = False  # one latent less in view is another answer
    other = velocity(transformer, CONDITIONER, path, groups, sees)[:, :, list(SEGMENTS[-1])]
    assert (cached - other).abs().max() > 1e-3


@torch.no_grad()
def test_one_call_equals_five():
    """Five samples in one batch come out as in five calls: prepared, committed and denoised."""
    transformer, paths = tiny_transformer(), [walk(seed) for seed in range(5)]
    together = Walk(*(torch.cat(parts) for parts in zip(*map(vars_of, paths), strict=True)))
    whole = streamed(transformer, together)
    for index, path in enumerate(paths):
        torch.testing.assert_close(
            whole[index : index + 1], streamed(transformer, path), atol=1e-5, rtol=0
        )
    assert (whole[0] - whole[1]).abs().max() > 0.1


def vars_of(path):
    return vars(path).values()


@torch.no_grad()
def test_what_is_not_valid_is_not_seen_and_the_order_of_slots_does_not_matter():
    transformer, path = tiny_transformer(), walk()
    shown = streamed(transformer, path, seen=(0, 5, 6))
    valid = torch.tensor([[False, True, True, False, True]])
    masked = streamed(transformer, path, seen=(3, 0, 5, 2, 6), is_valid=valid)
    torch.testing.assert_close(masked, shown, atol=1e-5, rtol=0)
    shuffled = streamed(transformer, path, seen=(6, 0, 5))
    torch.testing.assert_close(shuffled, shown, atol=1e-5, rtol=0)
    every = streamed(transformer, path, seen=(3, 0, 5, 2, 6))
    assert (every - shown).abs().max() > 1e-3


@torch.no_grad()
def test_moving_and_turning_the_whole_world_changes_nothing():
    move = torch.from_numpy(pose_matrix(np.array([4.0, 0.0, -2.0]), 0.8, 0.0)).float()
    transformer = tiny_transformer()
    here, there = (streamed(transformer, walk(move=where)) for where in (None, move))
    torch.testing.assert_close(here, there, atol=1e-4, rtol=0)
    tilt = torch.from_numpy(pose_matrix(np.zeros(3), 0.0, 0.4)).float()
    tilted = streamed(transformer, walk(move=tilt))  # looking up is no move of the world
    assert (tilted - here).abs().max() > 1e-3


@pytest.mark.parametrize("field", ["rays", "coordinates", "keyboard", "mouse", "prompt"])
@torch.no_grad()
def test_every_condition_has_a_say(field):
    transformer, path = tiny_transformer(), walk()
    told = noisy_conditions(path)
    value = getattr(told, field)
    changed = dataclasses.replace(told, **{field: value + (1 if field == "prompt" else 0.5)})
    plain, other = (streamed(transformer, path, conditions=c) for c in (told, changed))
    assert (plain - other).abs().max() > 1e-4


@torch.no_grad()
def test_every_latent_is_told_its_own_noise_level():
    transformer, path = tiny_transformer(), walk()
    prepared = transformer.prepare(noisy_conditions(path))
    context = context_of(path, committed_one_by_one(transformer, path, "latent"), (5, 6), 7)
    latents = path.latents[:, :, 7:10]
    plain, other, both = (
        transformer.denoise(latents, torch.tensor([sigma]), prepared, context)
        for sigma in ([0.6, 0.6, 0.6], [0.6, 0.6, 0.1], [0.1, 0.1, 0.1])
    )
    change = (plain - other).abs().amax(dim=(0, 1, 3, 4))
    assert change[2] > 1e-3
    assert change[2] > change[:2].max()  # others see it by attention alone
    assert (both - other).abs().max() > 1e-3


@pytest.mark.parametrize("reach", REACHES)
@torch.no_grad()
def test_keys_of_committed_latents_depend_on_what_their_reach_says(reach):
    transformer, path = transformer_of(reach), walk()
    changed = walk()
    changed.latents[:, :, 4] += 1
    before, after = (committed_one_by_one(transformer, w, reach) for w in (path, changed))
    differs = [
        any(
            (a.keys - b.keys).abs().max() > 1e-5 or (a.values - b.values).abs().max() > 1e-5
            for a, b in zip(*blocks, strict=True)
        )
        for blocks in zip(before, after, strict=True)
    ]
    expected = {"latent": {4}, "segment": {4, 5, 6}, "window": {4, 5, 6}}[reach]
    assert {index for index, is_other in enumerate(differs) if is_other} == expected
    changed = walk()
    changed.latents[:, :, 2] += 1  # of an earlier segment, which segment 4..6 has seen
    after = committed_one_by_one(transformer, changed, reach)
    gap = max((a.keys - b.keys).abs().max() for a, b in zip(before[5], after[5], strict=True))
    assert (gap > 1e-3) == (reach == "window")


def test_patches_are_channel_row_column_and_outputs_row_column_channel():
    transformer = tiny_transformer()
    latents = torch.arange(4 * 2 * 16.0).reshape(1, 4, 2, 4, 4)
    patches = transformer.to_patches(latents)
    assert patches.shape == (1, 2 * TOKENS, CONFIG.patch_channels)
    expected = [float(latents[0, c, 1, 2 + r, w]) for c in range(4) for r in (0, 1) for w in (0, 1)]
    assert patches[0, TOKENS + 2].tolist() == expected  # second latent, lower left patch
    by_channel = patches.unflatten(1, (2, -1)).unflatten(-1, (4, 4))
    outputs = by_channel.transpose(-1, -2).flatten(-2)  # (row column, channel)
    torch.testing.assert_close(transformer.to_latents(outputs), latents, atol=0, rtol=0)


@torch.no_grad()
def test_a_fresh_network_predicts_nothing():
    assert not streamed(WorldModelTransformer(CONFIG), walk()).any()


def test_shapes_that_do_not_fit_are_refused():
    for values, words in (
        ({"patch_size": 3}, "patch_size 3"),
        ({"dim": 100, "num_heads": 16}, "num_heads 16"),
        ({"action_num_heads": 7}, "action_num_heads 7"),
        ({"action_rotary_dim": 32}, "action_rotary_dim 32"),
        ({"position": "lattice"}, "position 'lattice' in the stream layout"),
        ({"reach": "window"}, "accepts_inexact_replay=true"),
    ):
        with pytest.raises(ValueError, match=words):
            TransformerConfig(**values)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_small_transformers_answer_as_they_did_on_such_a_device(device):
    stored = stored_goldens()
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    if device not in stored:
        pytest.skip(f"no golden for {device}: run tests/goldens/write.py --device {device} there")
    found = golden(device)
    assert found.keys() == stored[device].keys() == LAYOUTS.keys()
    for layout, expected in stored[device].items():
        for name, value in expected.items():
            np.testing.assert_allclose(
                found[layout][name], value, atol=TOLERANCE[device] * expected["largest"], rtol=0
            )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_stays_near_float32(layout):
    """Measured: 1.3 % of the norm apart as a stream, 1.0 % in the reference layout."""
    precise = small_velocity(small_transformer(LAYOUTS[layout])).double().flatten()
    transformer = small_transformer(LAYOUTS[layout])
    for parameter in transformer.parameters():  # buffers stay: angles are computed in float32
        parameter.data = parameter.data.bfloat16()
    rough = small_velocity(transformer)
    assert rough.dtype == torch.bfloat16
    rough = rough.double().flatten()
    assert (precise @ rough) / (precise.norm() * rough.norm()) > 0.999
    assert 1e-4 < (precise - rough).norm() / precise.norm() < 0.03


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_reach_every_parameter(layout):
    transformer = small_transformer(LAYOUTS[layout]).requires_grad_(requires_grad=True)
    small_velocity(transformer).square().mean().backward()
    unreached = {
        name
        for name, parameter in transformer.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    }
    assert not unreached


def test_a_placed_context_says_where_it_lies_once_for_all_steps():
    transformer, moved, segment = transformer_of("latent"), walk(), SEGMENTS[-1]
    by_latent = committed_one_by_one(transformer, moved, "latent")
    prepared = transformer.prepare(noisy_conditions(moved))
    context = context_of(moved, by_latent, SEEN[-1], segment.start)
    placed, asked = transformer.placed(context), []
    transformer.rope.register_forward_pre_hook(lambda *_: asked.append(1))
    latents, sigma = moved.latents[:, :, segment], torch.full((1, len(segment)), SIGMA)
    expected = transformer.denoise(latents, sigma, prepared, context)
    assert len(asked) == 1
    assert torch.equal(transformer.denoise(latents, sigma, prepared, placed), expected)
    assert len(asked) == 1
