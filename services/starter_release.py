"""A release of the starter weights that the project carries, for who has no champion yet.

The student is the one that a pipeline would begin from, its linear layers in INT8 as a pipeline's
would be, with the narrow decoder where the starter has one. It is made once into a folder and found
there again, until the weights are others. It does not know stores, registries or servers.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from worldloom.artifacts import MANIFEST_NAME, build_manifest, hash_file, read_manifest
from worldloom.config import digest_of
from worldloom.distill.decoder_config import decoder_part
from worldloom.errors import ArtifactError
from worldloom.legs.carried import CARRIED

_NARROW_DECODER = decoder_part(0.5)
_PARTS = ("vae", "student", "places", _NARROW_DECODER)


def starter_release(folder: Path, starter: Path = CARRIED) -> str:
    """Make sure that a release of the starter weights is in a folder; return its digest.

    Raises:
        ArtifactError: when the starter weights or their places are not there.
    """
    if not (starter / "student").is_dir():
        message = f"starter weights {starter}: not there, expected vae and student"
        raise ArtifactError(message)
    config = {"starter": _content_digest(starter)}
    if (folder / MANIFEST_NAME).is_file():
        found = read_manifest(folder)
        if found.config == config:
            return found.digest
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write(partial, starter)
    manifest = build_manifest(partial, kind="release", config=config, parents={})
    (partial / MANIFEST_NAME).write_text(manifest.to_json())
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return manifest.digest


def _content_digest(starter: Path) -> str:
    """Return the digest of everything that a release is made of."""
    paths = sorted(path for part in _PARTS for path in (starter / part).rglob("*"))
    files = {
        path.relative_to(starter).as_posix(): hash_file(path).sha256
        for path in paths
        if path.is_file()
    }
    return digest_of(files)


def _write(folder: Path, starter: Path) -> None:
    # Torch takes seconds to import, and who finds a finished folder does not need it.
    from worldloom.camera import Intrinsics, Kinematics
    from worldloom.legs.places import read_places
    from worldloom.model.vae.video_vae import load_decoder, load_vae
    from worldloom.quantize.config import QuantizeLinearsConfig
    from worldloom.quantize.convert import quantize_linears
    from worldloom.rollout.config import ReleaseConfig
    from worldloom.rollout.release import write_release
    from worldloom.train.model_checkpoint import load_model

    student, known = load_model(starter / "student")
    quantize_linears(student, QuantizeLinearsConfig())
    vae = load_vae(starter / "vae")
    narrow = starter / _NARROW_DECODER
    places = read_places(starter)
    height, width = student.config.frame_size
    config = ReleaseConfig(
        transformer=student.config,
        sampler=known.sampler,
        retrieval=known.retrieval,
        kinematics=Kinematics(),
        intrinsics=Intrinsics.from_fov(height, width),
        height=height,
        width=width,
        worlds=tuple(places),
    )
    write_release(
        folder,
        config,
        transformer=student,
        encoder=vae.encoder,
        decoder=load_decoder(narrow) if narrow.is_dir() else vae.decoder,
        images={entry.name: view for entry, view in places.items()},
    )
