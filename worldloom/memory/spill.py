"""The part of a session's past that is on disk: one append-only file of fixed-size records.

A record is one latent in float32 and its pose in float64, little-endian, so what is read is
bit for bit what was written, and record i is found by one seek. The header names the format and
the latents' shape. Reading maps nothing, so memory does not grow with the file. It does not know
which latents are worth keeping.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.errors import DataError, StoreError

FILE_NAME = "latents.records"
_HEADER = struct.Struct("<8s3I")
_MAGIC = b"WLLATNT1"
_POSE_BYTES = 16 * 8

LatentShape = tuple[int, int, int]
Record = tuple[Float[Tensor, "C H W"], Float[Tensor, "4 4"]]


class SpillFile:
    """Latents and poses of one session on disk, in order of time."""

    def __init__(self, path: Path, file: BinaryIO, latent_shape: LatentShape, count: int) -> None:
        """Hold an open file; use `create` or `open`."""
        self.path = path
        self.latent_shape = latent_shape
        self._file = file
        self._count = count

    @classmethod
    def create(cls, path: Path, latent_shape: LatentShape) -> SpillFile:
        """Begin a new file; raises `StoreError` if there is one, or none can be made."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("x+b", buffering=0)
            file.write(_header(latent_shape))
        except OSError as error:
            message = f"spill file {path}: cannot be begun ({error.strerror}), expected a new file"
            raise StoreError(message) from error
        return cls(path, file, latent_shape, 0)

    @classmethod
    def open(
        cls, path: Path, latent_shape: LatentShape, num_records: int | None = None
    ) -> SpillFile:
        """Open a session's file to read and go on.

        Args:
            path: of the file.
            latent_shape: (C, H, W) of its latents.
            num_records: how many it must hold; any number by default.

        Raises:
            DataError: for a file that is missing, truncated or not of this format and shape.
        """
        try:
            file = path.open("r+b", buffering=0)
        except OSError as error:
            message = f"spill file {path}: {error.strerror}, expected a session's latents"
            raise DataError(message) from error
        size = os.fstat(file.fileno()).st_size
        spill = cls(path, file, latent_shape, 0)
        spill._count = (size - _HEADER.size) // spill.record_bytes
        try:
            spill._check(size, num_records)
        except DataError:
            file.close()
            raise
        return spill

    def __len__(self) -> int:
        """Return the number of records."""
        return self._count

    @property
    def record_bytes(self) -> int:
        """Bytes of one record."""
        channels, height, width = self.latent_shape
        return 4 * channels * height * width + _POSE_BYTES

    def append(self, latent: Float[Tensor, "C H W"], pose: Float[Tensor, "4 4"]) -> None:
        """Write one record at the end.

        Raises:
            StoreError: when the disk refuses; the file is cut back to its whole records.
        """
        record = latent.cpu().numpy().astype("<f4").tobytes()
        record += pose.cpu().numpy().astype("<f8").tobytes()
        assert len(record) == self.record_bytes, "the bank checks shapes"
        start = self._offset(self._count)
        try:
            written = os.pwrite(self._file.fileno(), record, start)
            reason = f"{written} bytes written"
        except OSError as error:
            written, reason = 0, str(error.strerror)
        if written != len(record):
            os.ftruncate(self._file.fileno(), start)
            message = (
                f"spill file {self.path}: record {self._count} cannot be written ({reason}),"
                f" expected room for {len(record)} bytes"
            )
            raise StoreError(message)
        self._count += 1

    def read(self, index: int) -> Record:
        """Return one latent float32 [C, H, W] and its pose float64 [4, 4], on the CPU.

        Raises:
            ValueError: for a record that was never written.
            DataError: when the file has become shorter than what was written.
        """
        if not 0 <= index < self._count:
            message = f"record {index} of {self.path}: expected one of 0 .. {self._count - 1}"
            raise ValueError(message)
        record = os.pread(self._file.fileno(), self.record_bytes, self._offset(index))
        if len(record) != self.record_bytes:
            raise self._wrong_size(self._offset(self._count))
        latent = np.frombuffer(record[:-_POSE_BYTES], "<f4").reshape(self.latent_shape)
        pose = np.frombuffer(record[-_POSE_BYTES:], "<f8").reshape(4, 4)
        return (
            torch.from_numpy(latent.astype(np.float32)),
            torch.from_numpy(pose.astype(np.float64)),
        )

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._file.close()

    def _offset(self, index: int) -> int:
        return _HEADER.size + index * self.record_bytes

    def _check(self, size: int, num_records: int | None) -> None:
        header = os.pread(self._file.fileno(), _HEADER.size, 0)
        expected = _header(self.latent_shape)
        if header != expected:
            message = (
                f"spill file {self.path}: header {_told(header)} of {size} bytes, expected"
                f" {_told(expected)} and {self.record_bytes} bytes a record"
            )
            raise DataError(message)
        count = self._count if num_records is None else num_records
        if size != self._offset(count):
            # A rest belongs to a record that was not finished.
            raise self._wrong_size(self._offset(count + (num_records is None)))

    def _wrong_size(self, expected: int) -> DataError:
        size = os.fstat(self._file.fileno()).st_size
        return DataError(f"spill file {self.path}: {size} bytes, expected {expected}")


def _header(latent_shape: LatentShape) -> bytes:
    return _HEADER.pack(_MAGIC, *latent_shape)


def _told(header: bytes) -> str:
    if len(header) < _HEADER.size:
        return f"cut short after {len(header)} bytes"
    magic, *shape = _HEADER.unpack(header)
    return f"{magic!r} with latents {shape}"
