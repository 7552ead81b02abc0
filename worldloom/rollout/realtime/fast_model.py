"""A world model made fast: its layers' formats chosen, its passes and its decoder exchanged.

What is asked for and what the device can do are settled here, once, and said in a sentence each;
a format that a device cannot multiply is refused when it was asked for by name. It does not know
sessions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch
from torch import nn

from worldloom.errors import ConfigError, MachineError
from worldloom.log import log_event
from worldloom.memory.cover import Cover, greedy_cover_in_torch
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.video_vae import VAEDecoder
from worldloom.model.vae.wan_vae import WanVAEDecoder
from worldloom.quantize.config import QuantizeLinearsConfig
from worldloom.quantize.convert import quantize_linears, tell_slow_layers
from worldloom.quantize.eight_bit_linear import EightBitLinear
from worldloom.quantize.fp8_linear import multiplies_fp8, require_fp8
from worldloom.rollout.realtime.attention_choice import fp8_attention_wins
from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.device_cover import DeviceCover
from worldloom.rollout.realtime.fast_decoder import FastDecoder
from worldloom.rollout.realtime.fast_transformer import FastTransformer
from worldloom.rollout.realtime.step_cache import NO_BLOCKS
from worldloom.rollout.realtime.ulysses import PlaceShare
from worldloom.rollout.world_model import WorldModel, latents_decoded_at_once

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class FastModel:
    """A world model that sessions run fast on, and what was chosen."""

    model: WorldModel
    choices: tuple[str, ...]


def make_fast(
    model: WorldModel, config: RealtimeConfig, *, share: PlaceShare | None = None
) -> FastModel:
    """Return a model of the same weights; its layers are converted in place.

    Args:
        model: the world model.
        config: what is done to it.
        share: of the tokens, where several processes run its transformer together.

    Raises:
        ConfigError: for a transformer that is not one of plain passes.
        MachineError: for FP8 by name on a device that does not multiply it, or a decoder's device
            that is not there.
    """
    transformer = model.transformer
    if not isinstance(transformer, WorldModelTransformer):
        message = (
            f"transformer {type(transformer).__name__}: expected a WorldModelTransformer, which "
            "has not been made fast yet"
        )
        raise ConfigError(message)
    linears = _convert(transformer, config)
    attends_in_fp8, attention = _choose_attention(transformer, config, share)
    choices = [f"linear layers: {linears}", f"attention: {attention}"]
    fast = FastTransformer(
        transformer,
        attends_in_fp8=attends_in_fp8,
        captures_graphs=config.captures_graphs,
        reused_blocks=_reused_blocks(config, transformer),
        share=share,
    )
    device = _decoder_device(config, transformer.device)
    decoder = _decoder(model, config, device)
    name = "compiled" if isinstance(decoder, FastDecoder) else "as it is"
    choices.append(f"decoder: {name}, on {device}")
    has_stream = device.type == "cuda" and config.decodes_beside
    made = replace(
        model,
        transformer=fast,
        decoder=decoder,
        decode_stream=torch.cuda.Stream(device) if has_stream else None,
        cover=_cover(config, transformer.device),
        cached_latents=config.cached_latents,
        commits_last_step=_commits_last_step(config, transformer),
    )
    chooser = "the GPU" if isinstance(made.cover, DeviceCover) else "the host"
    choices.append(f"memory: chosen by {chooser}")
    choices += _options(config)
    log_event(_LOGGER, "model_made_fast", choices=choices)
    return FastModel(made, tuple(choices))


def _cover(config: RealtimeConfig, device: torch.device) -> Cover:
    is_on_gpu = config.retrieves_on_gpu and device.type == "cuda"
    return DeviceCover(device) if is_on_gpu else greedy_cover_in_torch


def _reused_blocks(config: RealtimeConfig, transformer: WorldModelTransformer) -> range:
    if config.reused_blocks is None:
        return NO_BLOCKS
    blocks = range(*config.reused_blocks)
    if blocks.stop > transformer.config.num_blocks:
        message = (
            f"reused_blocks {config.reused_blocks} of {transformer.config.num_blocks} blocks: "
            "expected an end within them"
        )
        raise ConfigError(message)
    return blocks


def _commits_last_step(config: RealtimeConfig, transformer: WorldModelTransformer) -> bool:
    if config.commits_last_step and transformer.config.layout != "stream":
        message = (
            f"commits_last_step in layout {transformer.config.layout!r}: expected 'stream', the "
            "layout that commits"
        )
        raise ConfigError(message)
    return config.commits_last_step


def _options(config: RealtimeConfig) -> list[str]:
    """Return what changes the student, in sentences."""
    options = []
    if config.commits_last_step:
        options.append("option: keys and values of the last step instead of a commit")
    if config.reused_blocks is not None:
        first, end = config.reused_blocks
        options.append(f"option: later steps repeat the say of blocks {first} to {end - 1}")
    return options


def _decoder(
    model: WorldModel, config: RealtimeConfig, device: torch.device
) -> VAEDecoder | WanVAEDecoder:
    """Return the decoder on its device, its steady chunk compiled where that is asked for."""
    decoder = model.decoder.to(device)
    compiles = device.type == "cuda" and config.compiles_decoder
    if compiles and type(decoder) is WanVAEDecoder:
        return FastDecoder(decoder, latents_decoded_at_once(model.transformer.config))
    return decoder


def _decoder_device(config: RealtimeConfig, device: torch.device) -> torch.device:
    if config.decoder_device is None:
        return device
    wanted = torch.device(config.decoder_device)
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        message = (
            f"decoder_device {config.decoder_device!r}: {torch.cuda.device_count()} GPUs on this "
            "machine, expected one of them"
        )
        raise MachineError(message)
    return wanted


def _convert(transformer: nn.Module, config: RealtimeConfig) -> str:
    """Convert the large linear layers unless they are 8-bit; return what they are."""
    device = next(transformer.parameters()).device
    found = {m.format_name for m in transformer.modules() if isinstance(m, EightBitLinear)}
    if found:
        slow = tell_slow_layers(transformer, device)
        return slow or f"{' and '.join(sorted(found))}, as they came"
    if config.linears == "full" or (config.linears == "auto" and device.type == "cpu"):
        return "full precision"
    if config.linears == "fp8":
        require_fp8(device)
    is_fp8 = config.linears == "fp8" or (config.linears == "auto" and multiplies_fp8(device))
    number_format = "fp8" if is_fp8 else "int8"
    names = quantize_linears(transformer, QuantizeLinearsConfig(number_format=number_format))
    fallback = config.linears == "auto" and not is_fp8
    reason = ", since the GPU does not multiply FP8" if fallback else ""
    return f"{number_format.upper()}, {len(names)} of them{reason}"


def _choose_attention(
    transformer: WorldModelTransformer, config: RealtimeConfig, share: PlaceShare | None
) -> tuple[bool, str]:
    device = transformer.device
    shared = "" if share is None else f", shared by {share.num_processes} processes"
    if config.attention == "fp8":
        require_fp8(device)
        return True, f"FP8{shared}"
    if config.attention == "full" or not multiplies_fp8(device):
        return False, f"full precision{shared}"
    choice = fp8_attention_wins(transformer.config, transformer.dtype, device)
    wins = choice.wins if share is None else share.all_say(choice.wins, device=device)
    return wins, f"{choice.sentence(is_fp8=wins)}{shared}"
