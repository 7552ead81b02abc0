"""What a transformer is and computes, without allocating it: parameters, tokens, operations.

The network is built on torch's meta device, so the figures are those of the real modules, not of
formulas beside them. What it needs of a GPU's memory is `memory_plan`'s business.
"""

from __future__ import annotations

from functools import cache

import torch
from pydantic import Field

from worldloom.config import Config
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.depth import shallow_terms
from worldloom.model.cost.flop_count import FlopCounts, count_commit, count_forward
from worldloom.model.transformer import WorldModelTransformer


class ParameterCounts(Config):
    """Parameters by part."""

    total: int = Field(description="all parameters")
    core: int = Field(description="everything but camera injectors and action modules")
    camera: int = Field(description="camera injectors and the embedding of rays")
    action: int = Field(description="action modules")


class TokenCounts(Config):
    """Tokens by segment."""

    first_segment: int = Field(description="tokens of the first segment, which has no memory")
    later_segment: int = Field(
        description="tokens of a later segment's sequence; in the reference layout memory and past "
        "are among them"
    )
    context: int = Field(description="committed tokens that a later segment sees beside its own")


class PassFlops(Config):
    """Operations of the passes that make up a later segment."""

    prepare: int = Field(description="what all steps share: cameras, prompt; once a segment")
    evaluation: int = Field(description="one denoising evaluation of the network")
    commit: int = Field(
        description="keys and values of the clean latents, with what cameras and prompt say to "
        "them (stream layout); 0 in the reference layout"
    )

    def segment(self, num_evaluations: int) -> int:
        """Return the operations of a segment that evaluates the network so many times."""
        return self.prepare + num_evaluations * self.evaluation + self.commit


class Footprint(Config):
    """What a transformer is and computes."""

    parameters: ParameterCounts = Field(description="parameters by part")
    tokens_per_latent_frame: int = Field(description="tokens of one latent")
    tokens: TokenCounts = Field(description="tokens by segment")
    flops_per_forward: int = Field(
        description="operations of one forward of a later segment: prepared, then evaluated once"
    )
    flops_by_part: FlopCounts = Field(description="the same by part")
    flops_by_pass: PassFlops = Field(description="a segment's operations by pass")


@cache
def footprint(config: TransformerConfig) -> Footprint:
    """Count what a transformer of this shape is and computes."""
    prepare, evaluation, commit = FlopCounts(), FlopCounts(), 0
    for times, shape in shallow_terms(config):
        shallow = meta_transformer(shape)
        prepared, evaluated = count_forward(shallow)
        prepare = prepare.plus(prepared, times=times)
        evaluation = evaluation.plus(evaluated, times=times)
        if config.commits:
            commit += times * count_commit(shallow).total
    forward = prepare.plus(evaluation)
    return Footprint(
        parameters=count_parameters(meta_transformer(config)),
        tokens_per_latent_frame=config.tokens_per_latent_frame,
        tokens=_tokens(config),
        flops_per_forward=forward.total,
        flops_by_part=forward,
        flops_by_pass=PassFlops(prepare=prepare.total, evaluation=evaluation.total, commit=commit),
    )


def meta_transformer(config: TransformerConfig) -> WorldModelTransformer:
    """Return a transformer that has shapes and no memory."""
    with torch.device("meta"):
        return WorldModelTransformer(config)


def count_parameters(transformer: WorldModelTransformer) -> ParameterCounts:
    """Count parameters by part."""
    counts = {"camera": 0, "action": 0, "core": 0}
    for name, parameter in transformer.named_parameters():
        counts[_part(name)] += parameter.numel()
    return ParameterCounts(total=sum(counts.values()), **counts)


def _part(name: str) -> str:
    if ".camera." in name or name.startswith("ray_embed."):
        return "camera"
    return "action" if ".actions." in name else "core"


def _tokens(config: TransformerConfig) -> TokenCounts:
    per_latent = config.tokens_per_latent_frame
    context = per_latent * config.num_context_latents
    own = per_latent * config.segment_latents
    return TokenCounts(
        first_segment=per_latent * config.first_segment_latents,
        later_segment=own if config.commits else context + own,
        context=context if config.commits else 0,
    )
