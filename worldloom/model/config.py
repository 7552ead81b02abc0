"""The shape of a world-model transformer as data; a preset is one of these, nothing more."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from worldloom.config import Config
from worldloom.errors import ConfigError
from worldloom.frames import TEMPORAL_STRIDE

Reach = Literal["latent", "segment", "window", "bidirectional"]


class TransformerConfig(Config):
    """Sizes of a transformer, what a segment is and what it sees."""

    layout: Literal["stream", "reference"] = Field(
        "stream",
        description="stream: committed latents leave keys and values that later segments read; "
        "reference: every step reads memory, past and new latents at once, in both directions",
    )
    latent_channels: int = Field(16, ge=1, description="channels of a latent")
    latent_height: int = Field(8, ge=1, description="rows of a latent")
    latent_width: int = Field(8, ge=1, description="columns of a latent")
    spatial_stride: int = Field(8, ge=1, description="pixels of a latent's edge")
    patch_size: int = Field(2, ge=1, description="latent rows and columns that make one token")
    dim: int = Field(128, ge=8, description="width of the residual stream")
    num_blocks: int = Field(5, ge=1, description="transformer blocks")
    num_heads: int = Field(4, ge=1, description="attention heads")
    ffn_dim: int = Field(272, ge=8, description="hidden width of the feed-forward layers")
    is_residual_normed: bool = Field(
        False,
        description="before a block reads the prompt, replace the residual stream by its norm "
        "(as Matrix-Game 3.0 does in memory mode) instead of only reading the norm",
    )

    position: Literal["geometry", "panorama", "lattice"] = Field(
        "geometry",
        description="rotary coordinates: lattice (latent, row, column; Matrix-Game 3.0), geometry "
        "(age, azimuth, elevation, x, z; values turned too), panorama (geometry at the lattice's "
        "frequencies, so that a lattice's weights can start it)",
    )
    rope_jitter: float = Field(
        0.2, ge=0, lt=1, description="spread of the rotary base over heads, as a share of it"
    )
    max_memory_gap: int = Field(
        32, ge=1, description="latents; memory older than this counts as this old"
    )
    has_place_embedding: bool = Field(
        True, description="add a learned vector to each place of a latent"
    )
    ray_samples: int = Field(1, ge=1, description="rays along the edge of one latent pixel")

    num_action_blocks: int = Field(2, ge=0, description="blocks, from the first, with actions")
    action_dim: int = Field(64, ge=8, description="width inside an action module")
    action_num_heads: int = Field(4, ge=1, description="attention heads inside an action module")
    action_key_dim: int = Field(16, ge=1, description="width of an embedded keyboard frame")
    action_rotary_dim: int = Field(
        8, ge=2, multiple_of=2, description="channels of an action head that turn with time"
    )
    action_window_latents: int = Field(3, ge=1, description="latents whose actions a token reads")

    text: Literal["learned", "umt5"] = Field(
        "learned",
        description="learned: hashed words embedded by the model itself; umt5: embeddings of the "
        "public encoder are given",
    )
    num_text_blocks: int = Field(
        1, ge=0, description="blocks, from the first, that read the prompt"
    )
    text_dim: int = Field(64, ge=8, description="width of a prompt token")
    text_vocabulary: int = Field(512, ge=2, description="buckets that prompt words hash into")
    text_length: int = Field(16, ge=1, description="prompt tokens kept")

    first_segment_latents: int = Field(
        1, ge=1, description="latents of the first segment, the start image's among them"
    )
    segment_latents: int = Field(3, ge=1, description="new latents of every later segment")
    num_past_latents: int = Field(4, ge=1, description="latest committed latents always seen")
    num_memory_latents: int = Field(5, ge=0, description="older latents seen, the sink among them")
    memory_refresh_frames: int = Field(
        0,
        ge=0,
        description="frames for which a slot of memory keeps its latent, at least; 0: memory is "
        "what the coming segment wants, for a copy of keys and values where a slot changes",
    )
    translation: Literal["metric", "relative"] = Field(
        "metric",
        description="what lengths a token is told: metres, or (reference layout, Matrix-Game 3.0) "
        "shares of the longest step of its window",
    )
    reach: Reach = Field(
        "latent",
        description="what a committed latent attends to while its keys and values are computed "
        "(stream layout): itself, its segment, or the window that its segment saw; bidirectional "
        "commits nothing: context and new latents read each other anew at every step, which is "
        "what the others are compared with and no session runs",
    )
    accepts_inexact_replay: bool = Field(
        False,
        description="required by reach=window: keys and values then hang on all that was seen "
        "before, so a session whose cache was dropped goes on differently",
    )

    @model_validator(mode="after")
    def _divides(self) -> TransformerConfig:
        if self.latent_height % self.patch_size or self.latent_width % self.patch_size:
            message = (
                f"latent {self.latent_height}x{self.latent_width} is not a multiple of "
                f"patch_size {self.patch_size}"
            )
            raise ValueError(message)
        if self.dim % (2 * self.num_heads):
            message = f"dim {self.dim} is not a multiple of twice num_heads {self.num_heads}"
            raise ValueError(message)
        if self.action_dim % self.action_num_heads:
            message = (
                f"action_dim {self.action_dim} is not a multiple of "
                f"action_num_heads {self.action_num_heads}"
            )
            raise ValueError(message)
        if self.action_rotary_dim > self.action_dim // self.action_num_heads:
            message = (
                f"action_rotary_dim {self.action_rotary_dim} is more than the "
                f"{self.action_dim // self.action_num_heads} channels of an action head"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _layout_fits(self) -> TransformerConfig:
        if self.layout == "stream" and self.position == "lattice":
            message = (
                "position 'lattice' in the stream layout: keys that are computed once cannot say "
                "where they were seen from, so expected 'geometry' or 'panorama'"
            )
            raise ValueError(message)
        if self.reach == "window" and not self.accepts_inexact_replay:
            message = (
                "reach 'window' gives up exact replay: a session resumed from its latents goes on "
                "differently; say accepts_inexact_replay=true to take that"
            )
            raise ValueError(message)
        return self

    def at_resolution(self, height: int, width: int) -> TransformerConfig:
        """Return this shape for frames of another size in pixels.

        Raises:
            ConfigError: for a size that does not divide into tokens.
        """
        multiple = self.spatial_stride * self.patch_size
        if height < multiple or width < multiple or height % multiple or width % multiple:
            message = (
                f"resolution {height}x{width}: expected height and width that are multiples of "
                f"{multiple} pixels (a token), such as 704x1280"
            )
            raise ConfigError(message)
        update = {
            "latent_height": height // self.spatial_stride,
            "latent_width": width // self.spatial_stride,
        }
        return self.model_copy(update=update)

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of a frame, pixels."""
        return self.latent_height * self.spatial_stride, self.latent_width * self.spatial_stride

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
    def patch_channels(self) -> int:
        """Values of one token's patch of latent."""
        return self.latent_channels * self.patch_size**2

    @property
    def segment_frames(self) -> int:
        """Pixel frames of one generated segment after the first."""
        return TEMPORAL_STRIDE * self.segment_latents

    @property
    def action_window_frames(self) -> int:
        """Pixel frames of actions that one latent reads."""
        return TEMPORAL_STRIDE * self.action_window_latents

    @property
    def num_context_latents(self) -> int:
        """Committed latents that a segment can see."""
        return self.num_past_latents + self.num_memory_latents

    @property
    def commits(self) -> bool:
        """Whether keys and values of clean latents are computed once and kept."""
        return self.layout == "stream" and self.reach != "bidirectional"

    @property
    def has_exact_replay(self) -> bool:
        """Whether latents, poses and actions alone determine everything that follows."""
        return self.reach != "window"
