"""Task `train_vae`: clips to a video VAE.

With a starter the encoder is taken as it is, because latents and transformers that exist were made
by it, and the decoder is fine-tuned on these clips. Without one everything is trained from the
clips' principal components on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch

from components.runtime import Step, StepContext
from components.starter import starter_folder
from components.training.vae_config import TrainVaeStepConfig
from worldloom.log import log_event
from worldloom.model.vae.vae_init import init_from_patches, video_patches
from worldloom.model.vae.video_vae import VideoVAE, load_vae, save_vae
from worldloom.train.trainer import Trainer, TrainingResult
from worldloom.train.vae_config import VAEObjectiveConfig
from worldloom.train.vae_objective import VAEObjective, measure_latent_statistics
from worldloom.train.vae_windows import Frames, read_frames, to_video

logger = logging.getLogger(__name__)

STEP = Step(name="train_vae", config=TrainVaeStepConfig, parents=("clips",), outputs=("vae",))
WEIGHTS_FILE = "vae.safetensors"
INIT_CLIPS = 64
INIT_FRAMES = 17
PICTURE_ROWS = 6


def run(context: StepContext[TrainVaeStepConfig]) -> Mapping[str, str]:
    """Train, measure and store the VAE."""
    config = context.config
    clips = context.folder("clips")
    train = read_frames(clips, "train", config.max_clips)
    held_out = read_frames(clips, "test", config.max_held_out_clips)
    vae, objective_config = _starting_point(config, train)
    objective = VAEObjective(vae, objective_config, train=train, held_out=held_out)
    result = Trainer(config.trainer).run(
        objective, folder=context.scratch / "training", tracker=context.tracker
    )
    objective.module.load_state_dict(result.learner.module_state())
    vae.to("cpu").eval()
    if objective_config.train_encoder:
        mean, std = measure_latent_statistics(vae, [to_video(clip) for clip in train[:INIT_CLIPS]])
        vae.set_latent_statistics(mean, std)
    folder = context.fresh_folder("vae")
    save_vae(folder, vae)
    _write_metrics(folder, result)
    picture = context.scratch / "reconstruction.png"
    write_comparison(picture, load_vae(folder), held_out)
    context.tracker.log_file(picture, "samples")
    return {"vae": context.commit(folder, "vae-checkpoint")}


def write_comparison(path: Path, vae: VideoVAE, clips: list[Frames]) -> None:
    """Write a picture of held-out frames: originals above their reconstructions."""
    rows: list[Frames] = []
    for clip in clips[:: max(1, len(clips) // PICTURE_ROWS)][:PICTURE_ROWS]:
        window = clip[:INIT_FRAMES]
        with torch.no_grad():
            decoded = vae.decode(vae.encode(to_video(window)))[0]
        frames = ((decoded.permute(1, 2, 3, 0) + 1) * 127.5).round().byte().numpy()
        rows += [np.concatenate(list(part[::4]), axis=1) for part in (window, frames)]
    picture = np.concatenate(rows, axis=0)[..., ::-1]
    cv2.imwrite(str(path), cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))


def _starting_point(
    config: TrainVaeStepConfig, train: list[Frames]
) -> tuple[VideoVAE, VAEObjectiveConfig]:
    if config.starter:
        log_event(logger, "vae_from_starter", digest=config.starter)
        frozen = config.objective.model_copy(update={"train_encoder": False})
        return load_vae(starter_folder("vae", WEIGHTS_FILE, config.starter)), frozen
    generator = torch.Generator().manual_seed(config.trainer.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.trainer.seed)
        vae = VideoVAE(config.vae)
    patches = torch.cat(
        [
            video_patches(to_video(clip[:INIT_FRAMES]), config.vae.spatial_stride, generator)
            for clip in train[:: max(1, len(train) // INIT_CLIPS)]
        ]
    )
    init_from_patches(vae, patches)
    return vae, config.objective


def _write_metrics(folder: Path, result: TrainingResult) -> None:
    values = {"evaluations": result.evaluations}
    folder.joinpath("metrics.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
