"""Task `quantize`: the student in INT8 with the narrow decoder, and the release made of them.

Two artifacts: the INT8 transformer with its parity (layer by layer), and the release, everything
one server needs, with the parity of whole walks against the full student and the full decoder.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from components.quantization.config import QuantizeStepConfig
from components.quantization.places import Place, pick_places
from components.runtime import Step, StepContext
from worldloom.actions import Actions
from worldloom.camera import Kinematics
from worldloom.config import canonical_json
from worldloom.evaluate.parity import ParityReport, measure_parity, write_parity
from worldloom.log import log_event
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.video_vae import VAEDecoder, VAEEncoder, load_decoder, load_vae
from worldloom.quantize.convert import LayerParity, parity, quantize_linears
from worldloom.quantize.stored import round_to_stored
from worldloom.rollout.config import ReleaseConfig, WorldEntry
from worldloom.rollout.release import write_release
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession
from worldloom.rollout.world_model import Frames, WorldModel
from worldloom.train.model_checkpoint import ModelCheckpointConfig, load_model, save_model
from worldloom.train.trainer import deterministic_arithmetic

logger = logging.getLogger(__name__)

STEP = Step(
    name="quantize",
    config=QuantizeStepConfig,
    parents=("student", "vae", "decoder", "clips"),
    outputs=("quantized", "release"),
)
LAYERS_FILE = "parity.json"


def run(context: StepContext[QuantizeStepConfig]) -> Mapping[str, str]:
    """Convert, compare and store the INT8 student and its release."""
    config = context.config
    student, known = load_model(context.folder("student"))
    vae = load_vae(context.folder("vae"))
    narrow = load_decoder(context.folder("decoder"))
    places = pick_places(context.folder("clips"), config.worlds_split, config.num_worlds)
    release = _release_config(student, known, places, config.kinematics)
    full = _world_model(release, student, vae.encoder, vae.decoder)
    compressed = copy.deepcopy(student)
    names = quantize_linears(compressed, config.linears)
    round_to_stored(compressed)
    small = _world_model(release, compressed, vae.encoder, narrow)
    with deterministic_arithmetic(enabled=True, num_threads=config.num_threads):
        report = walk_parity(full, small, places[: config.parity.num_worlds], config)
        layers = layer_parity(full, compressed, places[0], config)
    _track(context, report, names)

    folder = context.fresh_folder("quantized")
    save_model(folder, compressed, sampler=known.sampler, retrieval=known.retrieval)
    _write_layers(folder, report, layers)
    quantized = context.commit(folder, "quantized-checkpoint")
    folder = context.fresh_folder("release")
    write_release(
        folder,
        release,
        transformer=compressed,
        encoder=vae.encoder,
        decoder=narrow,
        images={place.name: place.image for place in places},
    )
    write_parity(folder, report)
    return {
        "quantized": quantized,
        "release": context.commit(folder, "release", {"quantized": quantized}),
    }


def walk_parity(
    full: WorldModel, small: WorldModel, places: list[Place], config: QuantizeStepConfig
) -> ParityReport:
    """Walk the same actions with the same noise in both models and compare what comes out."""
    walks = [[_walk(model, place, config) for place in places] for model in (full, small)]
    (latents, frames), (small_latents, small_frames) = (
        (torch.cat([walk[0] for walk in half]), np.concatenate([walk[1] for walk in half]))
        for half in walks
    )
    ratio = _weight_bytes(_layers(small), small.decoder) / _weight_bytes(
        _layers(full), full.decoder
    )
    return measure_parity(
        latents=small_latents,
        reference_latents=latents,
        frames=small_frames,
        reference_frames=frames,
        weight_bytes_ratio=ratio,
    )


def layer_parity(
    full: WorldModel,
    compressed: WorldModelTransformer,
    place: Place,
    config: QuantizeStepConfig,
) -> list[LayerParity]:
    """Compare the outputs of every converted layer over one walk."""

    def walk(transformer: nn.Module) -> Tensor:
        assert isinstance(transformer, WorldModelTransformer)
        return _walk(replace(full, transformer=transformer), place, config)[0]

    return parity(_layers(full), compressed, walk)


def _layers(model: WorldModel) -> nn.Module:
    """Return a model's transformer as the layers it is made of."""
    assert isinstance(model.transformer, nn.Module), "quantization looks at layers"
    return model.transformer


def _walk(model: WorldModel, place: Place, config: QuantizeStepConfig) -> tuple[Tensor, Frames]:
    """Return the new latents [T, C, H, W] and frames [F, H, W, 3] of a walk on the clip's way."""
    session = WorldSession(
        model,
        image=place.image,
        prompt=place.prompt,
        seed=config.parity.seed,
        pitch_radians=place.pitch_radians,
    )
    size = model.segment_frames
    frames = []
    for index in range(config.parity.num_segments):
        span = slice(1 + index * size, 1 + (index + 1) * size)
        if len(place.actions) < span.stop:
            break
        frames.append(session.generate_segment(place.actions[span]))
    if not frames:
        frames.append(session.generate_segment(Actions.still(size)))
    return session.snapshot().latents[1:], np.concatenate(frames)


def _release_config(
    student: WorldModelTransformer,
    known: ModelCheckpointConfig,
    places: list[Place],
    kinematics: Kinematics,
) -> ReleaseConfig:
    height, width, _ = places[0].image.shape
    return ReleaseConfig(
        transformer=student.config,
        sampler=known.sampler,
        retrieval=known.retrieval,
        kinematics=kinematics,
        intrinsics=places[0].intrinsics,
        height=height,
        width=width,
        worlds=tuple(
            WorldEntry(name=place.name, prompt=place.prompt, pitch_radians=place.pitch_radians)
            for place in places
        ),
    )


def _world_model(
    release: ReleaseConfig,
    transformer: WorldModelTransformer,
    encoder: VAEEncoder,
    decoder: VAEDecoder,
) -> WorldModel:
    return WorldModel(
        transformer=transformer,
        encoder=encoder,
        decoder=decoder,
        conditioner=Conditioner(release.transformer, release.intrinsics),
        sampler=release.sampler,
        retrieval=release.retrieval,
        kinematics=release.kinematics,
        intrinsics=release.intrinsics,
        bank=release.bank,
    )


def _track(
    context: StepContext[QuantizeStepConfig], report: ParityReport, names: list[str]
) -> None:
    values = {
        "parity/latent_cosine": report.latent_cosine,
        "parity/latent_relative_error": report.latent_relative_error,
        "parity/frame_psnr_db": report.frame_psnr_db,
        "parity/weight_bytes_ratio": report.weight_bytes_ratio,
    }
    context.tracker.log_metrics(values, 0)
    log_event(logger, "model_compressed", num_int8_layers=len(names), values=values)


def _write_layers(folder: Path, report: ParityReport, layers: list[LayerParity]) -> None:
    values = {
        "walks": report.model_dump(mode="json"),
        "layers": [asdict(layer) for layer in layers],
    }
    folder.joinpath(LAYERS_FILE).write_text(canonical_json(values) + "\n")


def _weight_bytes(*modules: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for m in modules for t in m.state_dict().values())
