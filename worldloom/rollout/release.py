"""A release: the folder that one server needs, written and opened.

    release.json                `ReleaseConfig`
    transformer.safetensors     the student, with 8-bit layers where it was quantized
    encoder.{json,safetensors}  the VAE's encoder, for start images
    decoder.{json,safetensors}  the (pruned) decoder
    worlds/<name>.png           start images

It does not know registries or servers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from worldloom.camera import Kinematics
from worldloom.config import load_config
from worldloom.errors import ArtifactError, DataError
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.video_vae import (
    VAEDecoder,
    VAEEncoder,
    load_decoder,
    load_encoder,
    save_decoder,
    save_encoder,
)
from worldloom.quantize.convert import load_quantized, tell_slow_layers
from worldloom.quantize.stored import stored_tensors
from worldloom.rollout.config import ReleaseConfig, WorldEntry
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession
from worldloom.rollout.truth import SessionState
from worldloom.rollout.world_model import Frames, WorldModel

CONFIG_FILE = "release.json"
TRANSFORMER_FILE = "transformer.safetensors"
WORLDS_FOLDER = "worlds"


@dataclass(frozen=True)
class World:
    """A place where a session can begin."""

    name: str
    prompt: str
    image: Frames  # uint8 [H, W, 3]
    pitch_radians: float = 0.0


@dataclass(frozen=True)
class Release:
    """An opened release: it opens sessions."""

    config: ReleaseConfig
    model: WorldModel
    worlds: tuple[World, ...]

    @property
    def height(self) -> int:
        """Frame height in pixels."""
        return self.config.height

    @property
    def width(self) -> int:
        """Frame width in pixels."""
        return self.config.width

    @property
    def frames_per_segment(self) -> int:
        """Pixel frames of one generated segment."""
        return self.model.segment_frames

    @property
    def kinematics(self) -> Kinematics:
        """What an action moves."""
        return self.model.kinematics

    def world(self, name: str) -> World:
        """Return the world of a name; raises `DataError` listing the known ones."""
        for world in self.worlds:
            if world.name == name:
                return world
        known = ", ".join(world.name for world in self.worlds)
        message = f"world {name!r}: not in this release, expected one of {known}"
        raise DataError(message)

    def open_session(
        self,
        *,
        image: Frames,
        prompt: str,
        seed: int,
        memory: bool = True,
        pitch_radians: float = 0.0,
    ) -> WorldSession:
        """Begin a session at a start image."""
        return WorldSession(
            self.model,
            image=image,
            prompt=prompt,
            seed=seed,
            memory=memory,
            pitch_radians=pitch_radians,
        )

    def resume_session(
        self, state: SessionState, *, prompt: str, seed: int, memory: bool = True
    ) -> WorldSession:
        """Go on with a stored session."""
        return WorldSession.resume(self.model, state, prompt=prompt, seed=seed, memory=memory)


def write_release(
    folder: Path,
    config: ReleaseConfig,
    *,
    transformer: nn.Module,
    encoder: VAEEncoder,
    decoder: VAEDecoder,
    images: dict[str, Frames],
) -> None:
    """Write a release folder; `images` holds the start image of every world by name.

    Beside 8-bit layers everything else is kept in 16 bits: a transformer with such layers comes
    back as it was if it had been rounded to that (`quantize.stored`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in stored_tensors(transformer).items()}
    save_file(tensors, folder / TRANSFORMER_FILE)
    save_encoder(folder, encoder)
    save_decoder(folder, decoder)
    (folder / WORLDS_FOLDER).mkdir(exist_ok=True)
    for world in config.worlds:
        _write_image(folder / WORLDS_FOLDER / f"{world.name}.png", images[world.name])
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=1) + "\n")


def load_release(folder: Path) -> Release:
    """Open a release folder.

    Raises:
        ArtifactError: when a file is missing, cannot be read or does not fit the configuration.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        message = f"{path}: missing, expected a release folder"
        raise ArtifactError(message)
    config = load_config(ReleaseConfig, path.read_text(), where=CONFIG_FILE)
    transformer = WorldModelTransformer(config.transformer)
    try:
        load_quantized(transformer, load_file(folder / TRANSFORMER_FILE))
        tell_slow_layers(transformer, transformer.device)
    except (OSError, SafetensorError) as error:
        message = f"{folder / TRANSFORMER_FILE}: cannot be read ({error})"
        raise ArtifactError(message) from error
    model = WorldModel(
        transformer=transformer.eval(),
        encoder=load_encoder(folder),
        decoder=load_decoder(folder),
        conditioner=Conditioner(config.transformer, config.intrinsics),
        sampler=config.sampler,
        retrieval=config.retrieval,
        kinematics=config.kinematics,
        intrinsics=config.intrinsics,
        bank=config.bank,
    )
    return Release(config, model, tuple(_read_world(folder, world) for world in config.worlds))


def _read_world(folder: Path, world: WorldEntry) -> World:
    path = folder / WORLDS_FOLDER / f"{world.name}.png"
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        message = f"{path}: {error.strerror}, expected the start image of world {world.name!r}"
        raise ArtifactError(message) from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        message = f"{path}: not an image that can be read"
        raise ArtifactError(message)
    rgb = np.ascontiguousarray(image[..., ::-1]).astype(np.uint8)
    return World(world.name, world.prompt, rgb, world.pitch_radians)


def _write_image(path: Path, image: Frames) -> None:
    encoded, data = cv2.imencode(".png", image[..., ::-1])
    assert encoded, f"{path.name} could not be encoded"
    path.write_bytes(data.tobytes())
