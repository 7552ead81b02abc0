"""Which keys were held and how far the view turned, read from the pictures by a small network.

It sees six frames around one step, in luminance and at one small size, and answers with four
chances (ahead, back, left, right) and a turn in degrees. It learns on recordings (see
`inverse_dynamics_training`), so it errs on them too: what a model's film scores is only worth
reading beside what the recording of the same walk scores. A key counts as held where the camera
moved that way: pushing against a wall moves nothing. Pitch is not read. It does not know who made
the frames, nor how it is trained.

Letters: N windows, F frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldloom.arrays import FloatArray
from worldloom.camera import yaw_pitch
from worldloom.config import Config, load_config
from worldloom.errors import ArtifactError
from worldloom.evaluate.video_quality import Frames

# Frames of a window before and after the step that is read.
BEFORE, AFTER = 3, 3
WINDOW_FRAMES = BEFORE + AFTER
NUM_KEYS = 4
SAME_TURN_DEGREES = 0.75
_LUMINANCE = (0.299, 0.587, 0.114)
_PREDICTED_AT_ONCE = 256
CONFIG_FILE, WEIGHTS_FILE = "inverse_dynamics.json", "inverse_dynamics.safetensors"


class InverseDynamicsConfig(Config):
    """Shape of the network."""

    height: int = Field(64, ge=16, description="height at which it looks, pixels")
    width: int = Field(64, ge=16, description="width at which it looks, pixels")
    channels: tuple[int, ...] = Field(
        (32, 48, 64, 96),
        min_length=1,
        description="channels of each stage, half as large as before",
    )
    hidden: int = Field(128, ge=8, description="width of the layer before the answers")
    turn_scale_degrees: float = Field(
        3.0, gt=0, description="degrees a frame that count as one unit of the answer"
    )

    @model_validator(mode="after")
    def _halves(self) -> InverseDynamicsConfig:
        multiple = 1 << len(self.channels)
        if self.height % multiple or self.width % multiple:
            message = f"{self.height} x {self.width} pixels: expected multiples of {multiple}"
            raise ValueError(message)
        return self


class Motion(NamedTuple):
    """What moved the camera into each of N frames."""

    keys: FloatArray  # [N, 4], 0 or 1: ahead, back, left, right
    turn_degrees: FloatArray  # [N], positive to the right


class ActionAccuracy(Config):
    """How much of what was asked for a film shows."""

    num_frames: int = Field(ge=1, description="frames that were read")
    key_accuracy: float = Field(ge=0, le=1, description="share of frames with all four keys right")
    turn_error_degrees: float = Field(ge=0, description="mean absolute error, degrees a frame")
    turn_accuracy: float = Field(
        ge=0, le=1, description=f"share of frames within {SAME_TURN_DEGREES} degrees"
    )


class InverseDynamics(nn.Module):
    """Reads a step off six frames."""

    def __init__(self, config: InverseDynamicsConfig) -> None:
        """Build the network."""
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        before = WINDOW_FRAMES
        for after in config.channels:
            layers += [nn.Conv2d(before, after, 5, stride=2, padding=2), nn.ReLU()]
            before = after
        self.body = nn.Sequential(*layers)
        halvings = len(config.channels)
        flat = before * (config.height >> halvings) * (config.width >> halvings)
        self.answer = nn.Sequential(
            nn.Linear(flat, config.hidden), nn.ReLU(), nn.Linear(config.hidden, NUM_KEYS + 1)
        )

    def forward(self, windows: Float[Tensor, "N 6 H W"]) -> Float[Tensor, "N 5"]:
        """Return four logits and a turn in units of `turn_scale_degrees`."""
        mean = windows.mean(dim=(1, 2, 3), keepdim=True)
        scale = windows.std(dim=(1, 2, 3), keepdim=True) + 1e-3
        answers: Tensor = self.answer(self.body((windows - mean) / scale).flatten(1))
        return answers

    @torch.inference_mode()
    def read(self, frames: Frames) -> Motion:
        """Return what moved the camera into frames BEFORE .. F - AFTER of a film."""
        pictures = luminance(frames, self.config)
        windows = film_windows(pictures)
        device = next(self.parameters()).device
        answers = torch.cat(
            [self(part.to(device)).cpu() for part in windows.split(_PREDICTED_AT_ONCE)]
        ).double()
        keys = (answers[:, :NUM_KEYS] > 0).double().numpy()
        turn = answers[:, NUM_KEYS].numpy() * self.config.turn_scale_degrees
        return Motion(keys, turn)


def luminance(frames: Frames, config: InverseDynamicsConfig) -> Float[Tensor, "F H W"]:
    """Return a film in luminance from 0 to 1, at the network's size."""
    weights = torch.tensor(_LUMINANCE)
    values = (torch.from_numpy(frames).float() @ weights / 255)[:, None]
    small: Tensor = functional.interpolate(values, (config.height, config.width), mode="area")
    return small[:, 0]


def film_windows(pictures: Float[Tensor, "F H W"]) -> Float[Tensor, "N 6 H W"]:
    """Return the windows of all steps that have one, oldest first."""
    return pictures.unfold(0, WINDOW_FRAMES, 1).permute(0, 3, 1, 2)


def true_motion(poses_c2w: FloatArray, speed_metres: float) -> Motion:
    """Return what moved the camera into frames BEFORE .. F - AFTER, as the poses tell it.

    A key is held where the camera moved that way by 0.4 of a step or more.
    """
    yaws = np.unwrap([yaw_pitch(pose)[0] for pose in poses_c2w])
    turn = np.diff(yaws)
    mean = yaws[:-1] + turn / 2
    step = np.diff(poses_c2w[:, :3, 3], axis=0)
    ahead = step[:, 0] * np.sin(mean) + step[:, 2] * np.cos(mean)
    right = step[:, 0] * np.cos(mean) - step[:, 2] * np.sin(mean)
    least = 0.4 * speed_metres
    keys = np.stack([ahead > least, ahead < -least, right < -least, right > least], axis=1)
    read = slice(BEFORE - 1, len(poses_c2w) - AFTER)
    return Motion(keys[read].astype(np.float64), np.degrees(turn)[read])


def action_accuracy(seen: Motion, asked: Motion) -> ActionAccuracy:
    """Return how much of what was asked for was seen."""
    error = np.abs(seen.turn_degrees - asked.turn_degrees)
    return ActionAccuracy(
        num_frames=len(error),
        key_accuracy=float((seen.keys == asked.keys).all(axis=1).mean()),
        turn_error_degrees=float(error.mean()),
        turn_accuracy=float((error <= SAME_TURN_DEGREES).mean()),
    )


def save_inverse_dynamics(folder: Path, network: InverseDynamics) -> None:
    """Write configuration and weights into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(network.config.model_dump_json(indent=1) + "\n")


def load_inverse_dynamics(folder: Path) -> InverseDynamics:
    """Read what `save_inverse_dynamics` wrote.

    Raises:
        ArtifactError: when a file is missing or does not fit the configuration.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        message = f"{path}: missing, expected the shape of an inverse-dynamics network"
        raise ArtifactError(message)
    network = InverseDynamics(load_config(InverseDynamicsConfig, path.read_text(), where=path.name))
    try:
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        message = f"{folder / WEIGHTS_FILE}: cannot be used ({reason}), expected its weights"
        raise ArtifactError(message) from error
    return network.eval()
