"""The parity file of a release."""

from __future__ import annotations

import pytest

from worldloom.errors import ConfigError
from worldloom.evaluate.parity_report import (
    PARITY_FILE,
    ParityReport,
    read_parity,
    write_parity,
)

REPORT = ParityReport(
    latent_cosine=0.99, latent_relative_error=0.1, frame_psnr_db=33.0, num_frames=24
)


def test_what_is_written_is_read(tmp_path):
    write_parity(tmp_path, REPORT)
    assert read_parity(tmp_path) == REPORT


def test_a_release_without_one_has_none(tmp_path):
    assert read_parity(tmp_path) is None


def test_a_torn_file_is_named(tmp_path):
    (tmp_path / PARITY_FILE).write_text('{"latent_cosine"')
    with pytest.raises(ConfigError, match=PARITY_FILE):
        read_parity(tmp_path)
