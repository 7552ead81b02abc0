import pytest
from pydantic import ValidationError

from worldloom.errors import ConfigError
from worldloom.model.config import TransformerConfig


def test_a_resolution_of_whole_tokens_sets_the_latents():
    config = TransformerConfig(spatial_stride=16).at_resolution(704, 1280)
    assert (config.latent_height, config.latent_width) == (44, 80)
    assert config.frame_size == (704, 1280)
    assert config.tokens_per_latent_frame == 880


@pytest.mark.parametrize("size", [(720, 1280), (704, 1290), (0, 1280), (-32, 64)])
def test_any_other_resolution_is_refused(size):
    with pytest.raises(ConfigError, match=f"{size[0]}x{size[1]}: .* multiples of 32 pixels"):
        TransformerConfig(spatial_stride=16).at_resolution(*size)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"patch_size": 3}, "patch_size 3"),
        ({"dim": 100, "num_heads": 16}, "num_heads 16"),
        ({"action_dim": 66}, "action_num_heads 4"),
        ({"action_rotary_dim": 32}, "16 channels of an action head"),
        ({"position": "lattice"}, "expected 'geometry' or 'panorama'"),
        ({"reach": "window"}, "gives up exact replay"),
        ({"reach": "clip"}, "'latent', 'segment', 'window' or 'bidirectional'"),
        ({"layout": "causal"}, "'stream' or 'reference'"),
        ({"segment_frames": 12}, "Extra inputs"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(values, words):
    with pytest.raises(ValidationError, match=words):
        TransformerConfig(**values)


def test_window_reach_is_allowed_where_its_loss_is_stated():
    config = TransformerConfig(reach="window", accepts_inexact_replay=True)
    assert not config.has_exact_replay
    assert TransformerConfig(reach="segment").has_exact_replay
