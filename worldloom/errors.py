"""The errors of the project: one tree, one sentence each, one exit code each.

A message says what was wrong, the value, and what was expected. A caller's mistake in code is a
`ValueError`; what the world did to us is one of these. It does not know who reports them: the
boundaries (a pipeline step, the command line, a server) map a class to its exit code or status.
"""

from __future__ import annotations

from typing import ClassVar


class WorldloomError(Exception):
    """Root of everything the project raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(WorldloomError, ValueError):
    """A configuration key or value that the schema refuses."""

    exit_code = 2


class ArtifactError(WorldloomError):
    """A stored artifact that is missing, incomplete or not what its digest says."""

    exit_code = 3


class StoreError(WorldloomError):
    """The artifact store cannot be read or written (unreachable, refused, disk full)."""

    exit_code = 4


class DataError(WorldloomError, ValueError):
    """A clip, an action file or an image that breaks its contract."""

    exit_code = 5


class TrackingError(WorldloomError):
    """The tracking server (MLflow) does not answer or refuses."""

    exit_code = 6


class PromotionError(WorldloomError):
    """A promotion, rollback or registry change that the guard refuses."""

    exit_code = 7


class ServingError(WorldloomError):
    """An inference server, gateway or session that cannot be started or has died."""

    exit_code = 8


class MachineError(WorldloomError):
    """The machine lacks what a command needs: a Python version, a port, a binary."""

    exit_code = 9


class TrainingError(WorldloomError):
    """Training cannot go on: a loss that is not finite, a checkpoint that does not fit."""

    exit_code = 10
