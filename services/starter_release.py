"""A release of the starter weights that the project carries, for who has no champion yet.

The worlds are drawn, the student is the one that a pipeline would begin from, unquantized. It is
made once into a folder and found there again. It does not know stores, registries or servers.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

import worldloom
from worldloom.artifacts import MANIFEST_NAME, build_manifest, read_manifest
from worldloom.errors import ArtifactError

_WORLD_SEEDS = {"courtyard": 7, "corridor": 21, "hall": 33}


def starter_release(folder: Path) -> str:
    """Make sure that a release of the starter weights is in a folder; return its digest.

    Raises:
        ArtifactError: when the starter weights are not there.
    """
    if (folder / MANIFEST_NAME).is_file():
        return read_manifest(folder).digest
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write(partial)
    manifest = build_manifest(partial, kind="release", config={"starter": True}, parents={})
    (partial / MANIFEST_NAME).write_text(manifest.to_json())
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return manifest.digest


def _write(folder: Path) -> None:
    # Torch takes seconds to import, and who finds a finished folder does not need it.
    from worldloom.camera import yaw_pitch
    from worldloom.data.sources.procedural import ProceduralConfig, capture_clip
    from worldloom.model.vae.video_vae import load_vae
    from worldloom.rollout.config import ReleaseConfig, WorldEntry
    from worldloom.rollout.release import write_release
    from worldloom.train.model_checkpoint import load_model

    starter = Path(worldloom.__file__).parent / "starter"
    if not (starter / "student").is_dir():
        message = f"starter weights {starter}: not there, expected vae and student"
        raise ArtifactError(message)
    student, known = load_model(starter / "student")
    vae = load_vae(starter / "vae")
    source = ProceduralConfig()
    clips = {
        name: capture_clip(source, seed=seed, split="train", num_frames=1)
        for name, seed in _WORLD_SEEDS.items()
    }
    config = ReleaseConfig(
        transformer=student.config,
        sampler=known.sampler,
        retrieval=known.retrieval,
        kinematics=source.kinematics,
        intrinsics=source.intrinsics,
        height=source.height,
        width=source.width,
        worlds=tuple(
            WorldEntry(
                name=name,
                prompt=clip.prompt,
                pitch_radians=yaw_pitch(clip.poses_c2w[0].astype(np.float64))[1],
            )
            for name, clip in clips.items()
        ),
    )
    write_release(
        folder,
        config,
        transformer=student,
        encoder=vae.encoder,
        decoder=vae.decoder,
        images={name: clip.frames[0] for name, clip in clips.items()},
    )
