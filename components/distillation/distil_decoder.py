"""Task `distil_decoder`: the full VAE decoder to a narrow one that answers nearly the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from components.distillation.decoder_config import DistilDecoderStepConfig
from components.runtime import Step, StepContext
from components.starter import starter_folder
from worldloom.distill.decoder import DecoderObjective
from worldloom.distill.decoder_config import decoder_part
from worldloom.log import log_event
from worldloom.model.vae.video_vae import VAEDecoder, load_decoder, load_vae, save_decoder
from worldloom.train.trainer import Trainer
from worldloom.train.vae_windows import read_frames

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "decoder.safetensors"
STEP = Step(
    name="distil_decoder",
    config=DistilDecoderStepConfig,
    parents=("vae", "clips"),
    outputs=("decoder",),
)


def run(context: StepContext[DistilDecoderStepConfig]) -> Mapping[str, str]:
    """Cut, teach, measure and store the narrow decoder."""
    config = context.config
    clips = context.folder("clips")
    objective = DecoderObjective(
        load_vae(context.folder("vae")),
        config.objective,
        train=read_frames(clips, "train", config.max_clips),
        held_out=read_frames(clips, "test", config.max_held_out_clips),
        student=_starter(config),
    )
    result = Trainer(config.trainer).run(
        objective, folder=context.scratch / "training", tracker=context.tracker
    )
    objective.student.load_state_dict(result.learner.module_state())
    folder = context.fresh_folder("decoder")
    save_decoder(folder, objective.student.cpu())
    values = {
        "channels_removed": config.objective.removed,
        "parameters": sum(p.numel() for p in objective.student.parameters()),
        "full_parameters": sum(p.numel() for p in objective.teacher.decoder.parameters()),
        "evaluations": result.evaluations,
    }
    folder.joinpath("metrics.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    log_event(logger, "decoder_distilled", parity=result.evaluations[-1])
    return {"decoder": context.commit(folder, "decoder-checkpoint")}


def _starter(config: DistilDecoderStepConfig) -> VAEDecoder | None:
    if not config.starter:
        return None
    part = decoder_part(config.objective.removed)
    log_event(logger, "decoder_from_starter", part=part, digest=config.starter)
    return load_decoder(starter_folder(part, WEIGHTS_FILE, config.starter))
