"""What each stage of a leg builds, trains and writes.

It puts together objectives, weights and recipes that are defined elsewhere, and knows nothing of
how clips are rendered.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch

from worldloom.config import ConfigT, JsonValue, apply_overrides, parse_config, resolved
from worldloom.data.latents import LatentClips
from worldloom.distill.decoder import DecoderObjective
from worldloom.distill.decoder_config import decoder_part
from worldloom.distill.dmd import Distillation
from worldloom.errors import ArtifactError
from worldloom.legs.clip_file import StoredClip, held_out_clips
from worldloom.legs.encoded import EncodedClips
from worldloom.legs.leg import Leg, LegResult, Stage
from worldloom.legs.pool import ClipPool
from worldloom.legs.recipes import (
    DECODER_RECIPE,
    DISTILLATION_RECIPES,
    FLOW_RECIPES,
    VAE_RECIPE,
    DistillationStage,
    FlowStage,
)
from worldloom.memory.config import RetrievalConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.model.vae.vae_init import init_from_patches, video_patches
from worldloom.model.vae.video_vae import (
    VideoVAE,
    load_decoder,
    load_vae,
    save_decoder,
    save_vae,
)
from worldloom.rollout.config import SamplerConfig
from worldloom.train.config import LearnerConfig, TrainerConfig
from worldloom.train.flow_objective import FlowObjective
from worldloom.train.model_checkpoint import CONFIG_FILE, load_model, save_model
from worldloom.train.tracking import NullTracker
from worldloom.train.trainer import Trainer
from worldloom.train.vae_objective import VAEObjective, measure_latent_statistics
from worldloom.train.vae_windows import Frames, to_video

_INIT_FRAMES = 17
_STATISTICS_CLIPS = 64
_LOG_EVERY = 20


def train_vae(leg: Leg, scratch: Path) -> LegResult:
    """Train the video VAE, or only its decoder where latents of its encoder are in use."""
    config = leg.config
    held_out = [clip.frames.numpy() for clip in leg.all_held_out()]
    first = [clip.frames.numpy() for clip in leg.first_clips()]
    layer: dict[str, JsonValue] = {"batch_size": config.batch, "is_recorded": config.compiles}
    settings = _over(VAE_RECIPE.objective, layer, config.objective)
    vae = _starting_vae(leg, first)
    objective = VAEObjective(vae, settings, train=first, held_out=held_out)
    trainer = Trainer(_trainer(leg, VAE_RECIPE.learner))

    def take(clip: StoredClip) -> None:
        objective.add(clip.frames.numpy())

    result = trainer.run(objective, folder=scratch, pace=leg.pace(take), report=leg.report)
    objective.module.load_state_dict(result.learner.module_state())
    if objective.config.train_encoder:
        some = [to_video(frames).to(leg.device) for frames in first[:_STATISTICS_CLIPS]]
        mean, std = measure_latent_statistics(vae, some)
        vae.set_latent_statistics(mean.cpu(), std.cpu())
    _part(leg.out, "vae")
    save_vae(leg.out / "vae", vae.cpu().eval())
    return LegResult(result.learner.num_steps, result.history, result.evaluations, result.speed)


def train_flow(leg: Leg, scratch: Path) -> LegResult:
    """Train the transformer by teacher-forced flow matching: stages A and B."""
    config = leg.config
    recipe = FLOW_RECIPES[cast("FlowStage", config.stage)]
    encoded, pool, held_out = _encoded_clips(leg)
    transformer = _starting_transformer(leg)
    on_gpu = leg.device.type == "cuda"
    compilation = ("recorded" if on_gpu else "default") if config.compiles else "none"
    settings = _over(
        recipe.objective,
        {
            "batch_clips": config.batch,
            "compilation": compilation,
            "draws_noise_on_device": on_gpu,
        },
        config.objective,
    )
    objective = FlowObjective(settings, transformer, pool, held_out)

    def take(clip: StoredClip) -> None:
        pool.add(clip.clip_id, clip.segmented, encoded(clip))

    learner = parse_config(
        LearnerConfig, {**resolved(recipe.learner), "optimizer": config.optimizer}
    )
    result = Trainer(_trainer(leg, learner)).run(
        objective, folder=scratch, pace=leg.pace(take), report=leg.report
    )
    trained = WorldModelTransformer(transformer.config)
    trained.load_state_dict(result.learner.module_state())
    _save(leg, "base", trained, leg.model.base_sampler)
    return LegResult(result.learner.num_steps, result.history, result.evaluations, result.speed)


def distil(leg: Leg, scratch: Path) -> LegResult:
    """Distil the student: stages C1 and C2."""
    config = leg.config
    recipe = DISTILLATION_RECIPES[cast("DistillationStage", config.stage)]
    encoded, pool, held_out = _encoded_clips(leg)
    teacher = _required(leg, "base")
    student = _found(leg, "student") or copy.deepcopy(teacher)
    rates: dict[str, JsonValue] = {}
    if config.learning_rate:  # the critic learns twice as fast, as in the recipes
        rates = {
            "student": {"learning_rate": config.learning_rate},
            "critic": {"learning_rate": 2 * config.learning_rate},
        }
    fast = "recorded" if leg.device.type == "cuda" else "blocks"
    settings = _over(
        recipe,
        {
            "batch_clips": config.batch,
            "num_steps": min(recipe.num_steps, config.max_steps),
            "sampler": resolved(leg.model.sampler),
            "compilation": fast if config.compiles else "none",
            "draws_noise_on_device": leg.device.type == "cuda",
            "seed": config.seed,
            "deterministic": leg.device.type == "cpu",
            "log_every_steps": min(_LOG_EVERY, config.max_steps),
            "checkpoint_every_steps": 1_000_000,
            **rates,
        },
        config.objective,
    )
    run = Distillation(
        settings,
        teacher=teacher,
        student=student,
        critic=_found(leg, "critic"),
        train=pool,
        held_out=held_out,
        retrieval=RetrievalConfig(),
    )

    def take(clip: StoredClip) -> None:
        pool.add(clip.clip_id, clip.segmented, encoded(clip))

    state = run.run(scratch, NullTracker(), leg.report, leg.pace(take))
    made = WorldModelTransformer(teacher.config)
    made.load_state_dict(state)
    error = run.rollout_error(made.to(leg.device).eval(), run.config.max_segments)
    _save(leg, "student", made.cpu(), leg.model.sampler)
    _save(leg, "critic", run.critic.cpu(), leg.model.base_sampler)
    steps = len(run.history)
    return LegResult(steps, run.history, [{"step": float(steps), "rollout_error": error}])


def train_decoder(leg: Leg, scratch: Path) -> LegResult:
    """Cut a share out of the VAE's decoder and teach what is left, or go on with one that is there.

    The VAE stays as it is.
    """
    config = leg.config
    vae = _required_vae(leg).cpu()  # it follows its student to the device
    held_out = [clip.frames.numpy() for clip in leg.all_held_out()]
    first = [clip.frames.numpy() for clip in leg.first_clips()]
    layer: dict[str, JsonValue] = {"batch_size": config.batch, "is_recorded": config.compiles}
    settings = _over(DECODER_RECIPE.objective, layer, config.objective)
    part = decoder_part(settings.removed)
    known = load_decoder(leg.weights / part) if (leg.weights / part).is_dir() else None
    objective = DecoderObjective(vae, settings, train=first, held_out=held_out, student=known)

    def take(clip: StoredClip) -> None:
        objective.add(clip.frames.numpy())

    result = Trainer(_trainer(leg, DECODER_RECIPE.learner)).run(
        objective, folder=scratch, pace=leg.pace(take), report=leg.report
    )
    objective.student.load_state_dict(result.learner.module_state())
    save_decoder(_part(leg.out, part), objective.student.cpu().eval())
    return LegResult(result.learner.num_steps, result.history, result.evaluations, result.speed)


STAGES: Mapping[str, Stage] = {
    "vae": train_vae,
    "actions": train_flow,
    "memory": train_flow,
    "cold_start": distil,
    "multi_segment": distil,
    "decoder": train_decoder,
}


def _trainer(leg: Leg, learner: LearnerConfig) -> TrainerConfig:
    config = leg.config
    rate = {"learning_rate": config.learning_rate} if config.learning_rate else {}
    return TrainerConfig(
        num_steps=config.max_steps,
        checkpoint_every_steps=0,
        log_every_steps=min(_LOG_EVERY, config.max_steps),
        seed=config.seed,
        deterministic=leg.device.type == "cpu",
        learner=parse_config(LearnerConfig, {**resolved(learner), **rate}),
    )


def _over(recipe: ConfigT, layer: Mapping[str, JsonValue], overrides: Sequence[str]) -> ConfigT:
    """Lay a leg's settings over a recipe's, objects within objects merged, then the overrides."""
    values = resolved(recipe)
    for name, value in layer.items():
        below = values.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            values[name] = {**below, **value}
        else:
            values[name] = value
    return apply_overrides(parse_config(type(recipe), values), overrides)


def _encoded_clips(leg: Leg) -> tuple[EncodedClips, ClipPool, LatentClips]:
    """Return what encodes by the frozen VAE, the pool of the first clips, and the held-out ones."""
    encoded = EncodedClips(_required_vae(leg), leg.train.folder, leg.device)
    judged = leg.all_held_out()
    held_out = held_out_clips(judged, [encoded(clip) for clip in judged], leg.model.intrinsics)
    return encoded, leg.pool_of(encoded, leg.first_clips()), held_out


def _required_vae(leg: Leg) -> VideoVAE:
    if not (leg.weights / "vae").is_dir():
        message = f"{leg.weights / 'vae'}: missing, expected a VAE: train the stage vae first"
        raise ArtifactError(message)
    return load_vae(leg.weights / "vae").to(leg.device).requires_grad_(requires_grad=False)


def _starting_vae(leg: Leg, frames: Sequence[Frames]) -> VideoVAE:
    if (leg.weights / "vae").is_dir():
        return load_vae(leg.weights / "vae")
    shape = leg.model.transformer
    fitting: dict[str, JsonValue] = {
        "latent_channels": shape.latent_channels,
        "spatial_stride": shape.spatial_stride,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(leg.config.seed)
        vae = VideoVAE(parse_config(VAEConfig, {**resolved(leg.config.vae), **fitting}))
    generator = torch.Generator().manual_seed(leg.config.seed)
    stride = shape.spatial_stride
    windows = [to_video(clip[:_INIT_FRAMES]) for clip in frames[:_STATISTICS_CLIPS]]
    init_from_patches(vae, torch.cat([video_patches(w, stride, generator) for w in windows]))
    return vae


def _starting_transformer(leg: Leg) -> WorldModelTransformer:
    found = _found(leg, "base")
    if found is not None:
        return found
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(leg.config.seed)
        return WorldModelTransformer(leg.model.transformer)


def _found(leg: Leg, part: str) -> WorldModelTransformer | None:
    if not (leg.weights / part / CONFIG_FILE).is_file():
        return None
    transformer, known = load_model(leg.weights / part)
    if known.transformer != leg.model.transformer:
        message = (
            f"{leg.weights / part}: a transformer of another shape than the preset's, expected "
            "that of an earlier leg of the same model"
        )
        raise ArtifactError(message)
    return transformer


def _required(leg: Leg, part: str) -> WorldModelTransformer:
    found = _found(leg, part)
    if found is None:
        message = f"{leg.weights / part}: missing, expected what the stages before it train"
        raise ArtifactError(message)
    return found


def _save(leg: Leg, part: str, transformer: WorldModelTransformer, sampler: SamplerConfig) -> None:
    save_model(
        _part(leg.out, part),
        transformer,
        sampler=sampler,
        retrieval=RetrievalConfig(),
        dtype=torch.float16,
    )


def _part(out: Path, name: str) -> Path:
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
