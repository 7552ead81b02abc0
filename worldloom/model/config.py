"""The shape of a world-model transformer as data; a preset is one of these, nothing more."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from worldloom.config import Config
from worldloom.frames import TEMPORAL_STRIDE


class TransformerConfig(Config):
    """Sizes of a stream transformer and of what a segment sees."""

    latent_channels: int = Field(16, ge=1, description="channels of a latent")
    latent_height: int = Field(8, ge=1, description="rows of a latent")
    latent_width: int = Field(8, ge=1, description="columns of a latent")
    patch_size: int = Field(2, ge=1, description="latent rows and columns that make one token")
    dim: int = Field(128, ge=8, description="width of the residual stream")
    num_blocks: int = Field(5, ge=1, description="transformer blocks")
    num_heads: int = Field(4, ge=1, description="attention heads")
    ffn_dim: int = Field(320, ge=8, description="hidden width of the feed-forward layers")
    num_action_blocks: int = Field(2, ge=0, description="blocks, from the first, with actions")
    num_text_blocks: int = Field(
        1, ge=0, description="blocks, from the first, that read the prompt"
    )
    action_dim: int = Field(64, ge=8, description="width inside an action module")
    action_num_heads: int = Field(4, ge=1, description="attention heads inside an action module")
    action_window_latents: int = Field(3, ge=1, description="latents whose actions a token reads")
    text_dim: int = Field(64, ge=8, description="width of a prompt token")
    text_vocabulary: int = Field(512, ge=2, description="buckets that prompt words hash into")
    text_length: int = Field(16, ge=1, description="prompt tokens kept")
    segment_latents: int = Field(3, ge=1, description="latents generated at once")
    num_past_latents: int = Field(4, ge=1, description="latest committed latents always seen")
    num_memory_latents: int = Field(5, ge=0, description="older latents seen, the sink among them")
    rope_jitter: float = Field(0.2, ge=0, description="spread of the time base over heads")
    max_memory_gap: int = Field(32, ge=1, description="latents; older memory counts as this old")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.latent_height % self.patch_size or self.latent_width % self.patch_size:
            message = (
                f"latent {self.latent_height}x{self.latent_width} is not a multiple of "
                f"patch_size {self.patch_size}"
            )
            raise ValueError(message)
        if self.dim % (2 * self.num_heads):
            message = f"dim {self.dim} is not a multiple of twice num_heads {self.num_heads}"
            raise ValueError(message)
        return self

    @property
    def token_rows(self) -> int:
        """Rows of tokens in a latent."""
        return self.latent_height // self.patch_size

    @property
    def token_cols(self) -> int:
        """Columns of tokens in a latent."""
        return self.latent_width // self.patch_size

    @property
    def tokens_per_latent_frame(self) -> int:
        """Tokens of one latent."""
        return self.token_rows * self.token_cols

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.num_heads

    @property
    def segment_frames(self) -> int:
        """Pixel frames of one generated segment."""
        return TEMPORAL_STRIDE * self.segment_latents

    @property
    def action_window_frames(self) -> int:
        """Pixel frames of actions that one latent reads."""
        return TEMPORAL_STRIDE * self.action_window_latents

    @property
    def num_context_latents(self) -> int:
        """Committed latents that a segment can see."""
        return self.num_past_latents + self.num_memory_latents
